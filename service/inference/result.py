"""From the engine's numbers to one image's answer."""

from __future__ import annotations

from cxr.decision import OperatingPoint, decide
from cxr.errors import ImageOutOfScopeError
from cxr.scope import age_warnings
from service.answers import ImageResult, ScopeAnswer, Uncertainty
from service.inference.engine import OutputRow
from service.inference.loading import LoadedModel
from service.inference.preparation import PreparedImage


def build_result(
    image_id: str,
    image: PreparedImage,
    row: OutputRow,
    model: LoadedModel,
    point: OperatingPoint,
) -> ImageResult:
    """Give the answer for one image.

    Args:
        image_id: Identifies the image within its request.
        image: What was prepared of it.
        row: What the engine answered.
        model: Whose engine it was.
        point: The operating point in force.

    Raises:
        ImageOutOfScopeError: The model was not made for the picture, and refuses such.
    """
    manifest = model.bundle.manifest
    by_class = dict(zip(manifest.task.classes, map(float, row.probabilities), strict=True))
    positive = manifest.task.positive
    probability = by_class[positive]
    judged = model.gate.judge(image.layout, row.embedding, manifest.scope.thresholds)
    reasons = (*image.scope.reasons, *judged.reasons)
    if reasons and model.refuses:
        raise ImageOutOfScopeError(" ".join(reasons))
    chosen = manifest.referral.prediction_set(by_class)
    return ImageResult(
        id=image_id,
        label=_label(by_class, positive, point.threshold),
        decision=decide(
            probability, point, positive=positive, prediction_set=chosen, in_scope=not reasons
        ),
        probability=probability,
        probabilities=by_class,
        operating_point=point,
        uncertainty=Uncertainty(
            prediction_set=chosen,
            coverage=manifest.referral.coverage,
            refer_band=manifest.referral.band(point, positive),
        ),
        scope=ScopeAnswer(in_scope=not reasons, reasons=reasons),
        warnings=(
            *image.warnings,
            *age_warnings(image.dicom, manifest.scope.ages_years),
            *judged.warnings,
        ),
        image=image.facts,
    )


def _label(by_class: dict[str, float], positive: str, threshold: float) -> str:
    """Name the positive class from the threshold on, else the most probable other one."""
    if by_class[positive] >= threshold:
        return positive
    return max((name for name in by_class if name != positive), key=by_class.__getitem__)
