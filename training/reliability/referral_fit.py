"""Fit conformal prediction sets and measure them on other patients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.data.labels import Task
from cxr.errors import DataError
from cxr.verdict.decision import Referral, ReferralFigure, decide, probability_of_finding
from cxr.verdict.operating_point import OperatingPoint
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


def _measure_referral(
    rules: Sequence[Referral],
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    patients: NDArray[np.str_],
    point: OperatingPoint,
    task: Task,
) -> tuple[ReferralFigure, ...]:
    figures = []
    for rule in rules:
        covered, referred, right = [], [], []
        for row, label in zip(probabilities, labels, strict=True):
            by_class = dict(zip(task.classes, map(float, row), strict=True))
            chosen = rule.prediction_set(by_class)
            decision = decide(
                probability_of_finding(task, by_class),
                point,
                positives=task.positive_classes,
                prediction_set=chosen,
                in_scope=True,
            )
            truth = "positive" if label in task.positive_columns else "negative"
            covered.append(task.classes[label] in chosen)
            referred.append(decision == "refer")
            right.append(math.nan if decision == "refer" else float(decision == truth))
        figures.append(
            ReferralFigure(
                target=rule.coverage,
                coverage=estimate_mean(covered, patients, seed=0),
                referred=estimate_mean(referred, patients, seed=0),
                accuracy=estimate_mean(right, patients, seed=0),
            )
        )
    return tuple(figures)


def fit_referral(
    val: tuple[NDArray[np.float64], NDArray[np.int64]],
    test: tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.str_]] | None,
    coverage: float,
    point: OperatingPoint,
    task: Task,
) -> Referral:
    """Fit the rule of one coverage and measure it beside others.

    ``val``: Probabilities (N, K) and labels (N,). ``test``: The same with patients, resampled as
    wholes; None leaves the rule unmeasured.
    """

    def rule(target: float) -> Referral:
        least = fit_least_probabilities(*val, target, task)
        return Referral(coverage=target, least_probability=least, figures=())

    figures: tuple[ReferralFigure, ...] = ()
    if test is not None:
        rules = [rule(target) for target in sorted({*TARGETS, coverage})]
        figures = _measure_referral(rules, *test, point, task)
    return rule(coverage).model_copy(update={"figures": figures})
