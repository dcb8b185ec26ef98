"""From one image's numbers to a decision: the same in the service and in export.

The model abstains by class-conditional split conformal prediction. Each class has a least
probability, a quantile over validation images of that class. The classes whose probability
reaches theirs form the prediction set; it holds the true class with at least the stated coverage,
for each class by itself, as long as images come from where the validation images came from.

Source: Vovk, "Conditional validity of inductive conformal predictors", Machine Learning 92, 2013.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from cxr.data.labels import Task
from cxr.images.layout import Layout
from cxr.metrics.estimate import Estimate
from cxr.pixels.image import DicomFacts
from cxr.section import Section
from cxr.verdict.scope import Scope, ScopeGate, ScopeThresholds, age_warnings

# Unlike a plain alias it has a name in JSON schemas.
Decision = TypeAliasType("Decision", Literal["positive", "negative", "refer"])


class OperatingPoint(BaseModel):
    """A named threshold on the finding's calibrated probability.

    ``sensitivity`` and ``specificity`` are those it had on the validation patients, on which
    it was chosen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    threshold: float = Field(ge=0.0, le=1.0)
    sensitivity: float = Field(ge=0.0, le=1.0)
    specificity: float = Field(ge=0.0, le=1.0)


class ReferralFigure(Section):
    """What abstaining at one coverage gives on patients that were used for nothing else."""

    target: float = Field(gt=0, lt=1)
    coverage: Estimate = Field(description="Share of images whose set holds the true class.")
    referred: Estimate = Field(description="Share referred at the default operating point.")
    accuracy: Estimate = Field(description="Of the rest.")


class ReferBand(Section):
    """The range of the finding's probability in which the model abstains."""

    low: float
    high: float


class Referral(Section):
    """The rule for abstaining, and what it achieves."""

    coverage: float = Field(gt=0, lt=1, description="Of the prediction set, for each class.")
    least_probability: dict[str, float] = Field(
        description="From it on a class is in the prediction set."
    )
    figures: tuple[ReferralFigure, ...]

    def prediction_set(self, probabilities: Mapping[str, float]) -> tuple[str, ...]:
        """Return the classes that cannot be ruled out; there may be none, or all."""
        return tuple(
            name for name, value in probabilities.items() if value >= self.least_probability[name]
        )

    def band(self, point: OperatingPoint, positive: str) -> ReferBand | None:
        """Return where the model abstains at an operating point; None for more than two classes."""
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
    """What is known of one image.

    Attributes:
        probabilities: Calibrated, by class.
        embedding: Shape (D,), float32.
        layout: Layout of the model input.
        plain: Result of the plain checks of pixels and tags.
        dicom: Facts of the DICOM header, None for other formats.
    """

    probabilities: Mapping[str, float]
    embedding: NDArray[np.float32]
    layout: Layout
    plain: Scope
    dicom: DicomFacts | None


@dataclass(frozen=True)
class Rules:
    """What one model's images are judged by.

    Attributes:
        task: The question.
        referral: When to abstain.
        gate: The learnt part of the scope.
        thresholds: The gate's thresholds.
        ages_years: Youngest and oldest patient the model was trained on; None if unknown.
        points: Operating points by name; None stands for the default.
    """

    task: Task
    referral: Referral
    gate: ScopeGate
    thresholds: ScopeThresholds
    ages_years: tuple[float, float] | None
    points: Mapping[str | None, OperatingPoint]


@dataclass(frozen=True)
class Verdict:
    """What is said about one image.

    Attributes:
        label: If positive, the most probable class of the finding; if negative, the most probable
            other class; None if the model abstains.
        probability: Calibrated probability of the finding.
        decision: Decision at the operating point.
        prediction_set: Classes that cannot be ruled out.
        reasons: Why it is out of scope; empty in scope.
        warnings: Why its probability may be less reliable.
    """

    label: str | None
    probability: float
    decision: Decision
    prediction_set: tuple[str, ...]
    reasons: tuple[str, ...]
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

    Args:
        probability: In [0, 1].
        point: The operating point in force.
        positives: Classes that make up the finding.
        prediction_set: Classes that cannot be ruled out.
        in_scope: False when the image is not one the model was made for.

    Returns:
        ``positive`` at or above the threshold, ``negative`` below it, if the prediction set
        agrees and the image is in scope; else ``refer``.
    """
    reached = probability >= point.threshold
    if not in_scope or set(map(positives.__contains__, prediction_set)) != {reached}:
        return "refer"
    return "positive" if reached else "negative"


def reach_verdict(evidence: Evidence, rules: Rules, point: OperatingPoint) -> Verdict:
    """Judge one image at an operating point."""
    judged = rules.gate.judge(evidence.layout, evidence.embedding, rules.thresholds)
    reasons = (*evidence.plain.reasons, *judged.reasons)
    task, by_class = rules.task, evidence.probabilities
    chosen = rules.referral.prediction_set(by_class)
    probability = task.probability(by_class)
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
    facts = evidence.dicom
    ages = () if facts is None else age_warnings(facts, rules.ages_years)
    return Verdict(label, probability, decision, chosen, reasons, (*ages, *judged.warnings))
