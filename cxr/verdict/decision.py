"""From one image's numbers to a decision, in service and export alike.

The model abstains by class-conditional split conformal prediction (Vovk, "Conditional validity of
inductive conformal predictors", Machine Learning 92, 2013). Classes whose probability reaches a
quantile over validation images of their class form the prediction set. It holds the true class
with at least the stated coverage while images come from the same source.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cxr.data.labels import Task
from cxr.images.layout import Layout
from cxr.metrics.estimate import Estimate
from cxr.pixels.image import DicomFacts
from cxr.section import Section
from cxr.verdict.operating_point import Decision, OperatingPoint, ReferBand
from cxr.verdict.populations import Population, Unfamiliar, familiarity
from cxr.verdict.reasons import Reason
from cxr.verdict.scope import Scope, ScopeGate, ScopeThresholds


class ReferralFigure(Section):
    """What abstaining at one coverage gives on unused patients."""

    target: float = Field(gt=0, lt=1)
    coverage: Estimate = Field(description="Share of images whose set holds the true class.")
    referred: Estimate = Field(description="Share referred at the default operating point.")
    accuracy: Estimate = Field(description="Of the rest.")


class Referral(Section):
    """The rule for abstaining, and what it achieves."""

    coverage: float = Field(gt=0, lt=1, description="Of the prediction set, for each class.")
    least_probability: dict[str, float] = Field(
        description="From it on a class is in the prediction set."
    )
    figures: tuple[ReferralFigure, ...]

    def prediction_set(self, probabilities: Mapping[str, float]) -> tuple[str, ...]:
        """Return the classes that cannot be ruled out, perhaps none or all."""
        return tuple(
            name for name, value in probabilities.items() if value >= self.least_probability[name]
        )

    def band(self, point: OperatingPoint, positive: str) -> ReferBand | None:
        """Return where a model of two classes abstains; None for more classes."""
        if len(self.least_probability) != 2:
            return None
        (negative,) = set(self.least_probability) - {positive}
        ends = (
            point.threshold,
            self.least_probability[positive],
            1.0 - self.least_probability[negative],
        )
        return ReferBand(low=min(ends), high=max(ends))


@dataclass(frozen=True)
class Evidence:
    """What is known of one image: probabilities by class, embedding (D,), float32, and layout.

    ``plain`` is the result of the plain checks.
    """

    probabilities: Mapping[str, float]
    embedding: NDArray[np.float32]
    layout: Layout
    plain: Scope
    dicom: DicomFacts | None


@dataclass(frozen=True)
class Rules:
    """What one model's images are judged by."""

    task: Task
    referral: Referral
    gate: ScopeGate
    thresholds: ScopeThresholds
    populations: tuple[Population, ...]
    unfamiliar: Unfamiliar = "refer"


@dataclass(frozen=True)
class Verdict:
    """What is said about one image.

    Attributes:
        label: Most probable class on the decision's side; None if the model abstains.
        probability: Calibrated probability of the finding.
        decision: At the operating point.
        prediction_set: Classes that cannot be ruled out.
        population: What the picture belongs to; None if to none the model was made for.
        reasons: Why it is out of scope; empty in scope.
        warnings: Why its probability may be less reliable.
    """

    label: str | None
    probability: float
    decision: Decision
    prediction_set: tuple[str, ...]
    population: Population | None
    reasons: tuple[Reason, ...]
    warnings: tuple[str, ...]


def decide(
    probability: float,
    point: OperatingPoint,
    *,
    positives: Collection[str],
    prediction_set: Collection[str],
    in_scope: bool,
) -> Decision:
    """Turn the finding's calibrated probability into a decision.

    ``positive`` at or above the threshold, ``negative`` below it, if the prediction set agrees and
    the image is in scope; else ``refer``.
    """
    reached = probability >= point.threshold
    if not in_scope or set(map(positives.__contains__, prediction_set)) != {reached}:
        return "refer"
    return "positive" if reached else "negative"


def probability_of_finding(task: Task, by_class: Mapping[str, float]) -> float:
    """Return the finding's probability, given those of the classes."""
    return min(sum(map(by_class.__getitem__, task.positive_classes)), 1.0)


def reach_verdict(evidence: Evidence, rules: Rules, point: OperatingPoint) -> Verdict:
    """Judge one image at an operating point."""
    judged = rules.gate.judge(evidence.layout, evidence.embedding, rules.thresholds)
    reasons = (*evidence.plain.reasons, *judged.reasons)
    warnings: tuple[str, ...] = ()
    population, facts = None, evidence.dicom
    if not reasons:
        ages = () if facts is None else facts.ages_years
        population, unfamiliar = familiarity(rules.populations, judged.population, ages)
        if unfamiliar is not None and rules.unfamiliar == "warn":
            warnings = (unfamiliar.text,)
        elif unfamiliar is not None:
            reasons = (unfamiliar,)
    task, by_class = rules.task, evidence.probabilities
    chosen = rules.referral.prediction_set(by_class)
    probability = probability_of_finding(task, by_class)
    decision = decide(
        probability,
        point,
        positives=task.positive_classes,
        prediction_set=chosen,
        in_scope=not reasons,
    )
    label = None
    if decision != "refer":
        side = task.positive_classes if decision == "positive" else task.negative_classes
        label = max(side, key=by_class.__getitem__)
    return Verdict(label, probability, decision, chosen, population, reasons, warnings)
