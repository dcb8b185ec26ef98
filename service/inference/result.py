"""From the engine's numbers to one image's answer."""

from __future__ import annotations

from cxr.decision import OperatingPoint, decide
from cxr.manifest import Manifest
from service.answers import ImageResult, ScopeAnswer
from service.inference.engine import OutputRow
from service.inference.preparation import PreparedImage


def build_result(
    image_id: str,
    image: PreparedImage,
    row: OutputRow,
    manifest: Manifest,
    point: OperatingPoint,
) -> ImageResult:
    """Give the answer for one image.

    Args:
        image_id: Identifies the image within its request.
        image: What was prepared of it.
        row: What the engine answered.
        manifest: Of the model that gave them.
        point: The operating point in force.
    """
    by_class = dict(zip(manifest.task.classes, map(float, row.probabilities), strict=True))
    probability = by_class[manifest.task.positive]
    return ImageResult(
        id=image_id,
        label=_label(by_class, manifest.task.positive, point.threshold),
        decision=decide(probability, point, in_scope=image.scope.in_scope),
        probability=probability,
        probabilities=by_class,
        operating_point=point,
        scope=ScopeAnswer(in_scope=image.scope.in_scope, reasons=image.scope.reasons),
        warnings=image.warnings,
        image=image.facts,
    )


def _label(by_class: dict[str, float], positive: str, threshold: float) -> str:
    """Name the positive class from the threshold on, else the most probable other one."""
    if by_class[positive] >= threshold:
        return positive
    return max((name for name in by_class if name != positive), key=by_class.__getitem__)
