"""Fit conformal prediction sets and measure them on other patients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr.data.labels import Task
from cxr.errors import DataError
from cxr.verdict.decision import Referral, ReferralFigure, decide, probability_of_finding
from cxr.verdict.operating_point import Decision, OperatingPoint
from training.data.samples import Samples
from training.report.bootstrap import estimate_mean

TARGETS = (0.90, 0.95, 0.98, 0.99)


def fit_least_probabilities(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], coverage: float, task: Task
) -> dict[str, float]:
    """Return for each class the probability that ``coverage`` in (0, 1) of its images reach.

    With n images of a class it is their floor((n + 1) (1 - coverage)) smallest probability, which a
    new image reaches with at least that chance (split conformal prediction). A class with too few
    images is never ruled out; DataError if it has none.

    ``probabilities`` (N, K), calibrated, and ``labels`` (N,) are those of validation images.
    """
    least = {}
    for index, name in enumerate(task.classes):
        own = np.sort(probabilities[labels == index, index])
        if not len(own):
            raise DataError(
                f"No validation image of class {name}: the referral rule cannot be fitted."
            )
        rank = math.floor((len(own) + 1) * (1.0 - coverage) + 1e-9)
        least[name] = float(own[rank - 1]) if rank >= 1 else 0.0
    return least


class Judged(NamedTuple):
    """Probabilities (N, K) with labels, patients and populations (N,)."""

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]
    patients: NDArray[np.str_]
    populations: NDArray[np.str_]

    @classmethod
    def of(cls, samples: Samples, probabilities: NDArray[np.float64]) -> Judged:
        """Join samples with a network's probabilities for them."""
        return cls(probabilities, samples.labels, samples.patients, samples.populations)

    def decisions(
        self, rule: Referral, point: OperatingPoint, task: Task
    ) -> list[tuple[tuple[str, ...], Decision]]:
        """Return the prediction set and the decision of each image, all in scope."""
        found = []
        for row in self.probabilities:
            by_class = dict(zip(task.classes, map(float, row), strict=True))
            chosen = rule.prediction_set(by_class)
            decision = decide(
                probability_of_finding(task, by_class),
                point,
                positives=task.positive_classes,
                prediction_set=chosen,
                in_scope=True,
            )
            found.append((chosen, decision))
        return found


def abstentions(rule: Referral, judged: Judged, point: OperatingPoint, task: Task) -> list[bool]:
    """Return whether the model abstains from each image."""
    return [decision == "refer" for _, decision in judged.decisions(rule, point, task)]


def _measure_referral(
    rules: Sequence[Referral], judged: Judged, point: OperatingPoint, task: Task
) -> tuple[ReferralFigure, ...]:
    figures = []
    for rule in rules:
        covered, referred, right = [], [], []
        for (chosen, decision), label in zip(
            judged.decisions(rule, point, task), judged.labels, strict=True
        ):
            truth = "positive" if label in task.positive_columns else "negative"
            covered.append(task.classes[label] in chosen)
            referred.append(decision == "refer")
            right.append(math.nan if decision == "refer" else float(decision == truth))
        figures.append(
            ReferralFigure(
                target=rule.coverage,
                coverage=estimate_mean(covered, judged.patients, seed=0),
                referred=estimate_mean(referred, judged.patients, seed=0),
                accuracy=estimate_mean(right, judged.patients, seed=0),
            )
        )
    return tuple(figures)


def fit_referral(
    val: Judged, test: Judged | None, coverage: float, point: OperatingPoint, task: Task
) -> Referral:
    """Fit the rule of one coverage and measure it beside others.

    The rule keeps its coverage in each population: that of the least sure one decides. None for
    ``test`` leaves it unmeasured.
    """

    def rule(target: float) -> Referral:
        of_each = [
            fit_least_probabilities(
                val.probabilities[val.populations == name],
                val.labels[val.populations == name],
                target,
                task,
            )
            for name in sorted(set(map(str, val.populations)))
        ]
        least = {name: min(one[name] for one in of_each) for name in task.classes}
        return Referral(coverage=target, least_probability=least, figures=())

    figures: tuple[ReferralFigure, ...] = ()
    if test is not None:
        rules = [rule(target) for target in sorted({*TARGETS, coverage})]
        figures = _measure_referral(rules, test, point, task)
    return rule(coverage).model_copy(update={"figures": figures})
