"""From one image's numbers to what is said about it: the same in the service and in export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr.decision import Decision, OperatingPoint, decide
from cxr.image import DicomFacts
from cxr.labels import Task
from cxr.layout import Layout
from cxr.manifest import Manifest
from cxr.scope import Scope, age_warnings
from cxr.scope_gate import ScopeGate


@dataclass(frozen=True)
class Evidence:
    """What is known of one image.

    Attributes:
        probabilities: Calibrated, of every class.
        embedding: Shape (D,), float32.
        layout: Of its model input, see :mod:`cxr.layout`.
        plain: What the plain checks of pixels and tags say.
        dicom: Facts of the DICOM header, None for other formats.
    """

    probabilities: Mapping[str, float]
    embedding: NDArray[np.float32]
    layout: Layout
    plain: Scope
    dicom: DicomFacts | None


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


def reach_verdict(
    evidence: Evidence, manifest: Manifest, gate: ScopeGate, point: OperatingPoint
) -> Verdict:
    """Decide on one image.

    Args:
        evidence: What is known of it.
        manifest: Of the model that read it.
        gate: Of the same bundle.
        point: The operating point in force.
    """
    judged = gate.judge(evidence.layout, evidence.embedding, manifest.scope.thresholds)
    reasons = (*evidence.plain.reasons, *judged.reasons)
    chosen = manifest.referral.prediction_set(evidence.probabilities)
    task = manifest.task.as_task()
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
        warnings=(*age_warnings(evidence.dicom, manifest.scope.ages_years), *judged.warnings),
    )


def _label(by_class: Mapping[str, float], task: Task, decision: Decision) -> str | None:
    if decision == "refer":
        return None
    among = task.positive_classes if decision == "positive" else task.negative_classes
    return max(among, key=by_class.__getitem__)
