"""From one image's numbers to what is said about it: the same in the service and in export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr.data.labels import Task
from cxr.images.layout import Layout
from cxr.pixels.image import DicomFacts
from cxr.verdict.decision import Decision, OperatingPoint, decide
from cxr.verdict.referral import Referral
from cxr.verdict.scope import Scope, age_warnings
from cxr.verdict.scope_gate import ScopeGate, ScopeThresholds


@dataclass(frozen=True)
class Evidence:
    """What is known of one image.

    Attributes:
        probabilities: Calibrated, of every class.
        embedding: Shape (D,), float32.
        layout: Of its model input, see :mod:`cxr.images.layout`.
        plain: What the plain checks of pixels and tags say.
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
        thresholds: Of the gate.
        ages_years: Youngest and oldest patient the model was trained on; None if unknown.
    """

    task: Task
    referral: Referral
    gate: ScopeGate
    thresholds: ScopeThresholds
    ages_years: tuple[float, float] | None


@dataclass(frozen=True)
class Verdict:
    """What is said about one image.

    Attributes:
        label: The class the decision stands for: if positive the most probable one of the
            finding, if negative the most probable other one; None if the model abstains.
        probability: Of the finding, calibrated.
        decision: At the operating point.
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


def reach_verdict(evidence: Evidence, rules: Rules, point: OperatingPoint) -> Verdict:
    """Decide on one image.

    Args:
        evidence: What is known of it.
        rules: Of the model that read it.
        point: The operating point in force.
    """
    judged = rules.gate.judge(evidence.layout, evidence.embedding, rules.thresholds)
    reasons = (*evidence.plain.reasons, *judged.reasons)
    chosen = rules.referral.prediction_set(evidence.probabilities)
    task = rules.task
    probability = task.probability(evidence.probabilities)
    decision = decide(
        probability,
        point,
        positives=task.positive_classes,
        prediction_set=chosen,
        in_scope=not reasons,
    )
    return Verdict(
        label=_label(evidence.probabilities, task, decision),
        probability=probability,
        decision=decision,
        prediction_set=chosen,
        reasons=reasons,
        warnings=(*age_warnings(evidence.dicom, rules.ages_years), *judged.warnings),
    )


def _label(by_class: Mapping[str, float], task: Task, decision: Decision) -> str | None:
    if decision == "refer":
        return None
    among = task.positive_classes if decision == "positive" else task.negative_classes
    return max(among, key=by_class.__getitem__)
