"""From the engine's numbers to one image's answer."""

from __future__ import annotations

from dataclasses import asdict

from cxr.errors import ImageOutOfScopeError
from cxr.verdict.conclusion import conclude
from cxr.verdict.decision import OperatingPoint
from cxr.verdict.verdict import Evidence, reach_verdict
from service.answers import ConclusionAnswer, ImageResult, ScopeAnswer, Uncertainty
from service.engines.protocol import OutputRow
from service.images.preparation import PreparedImage
from service.models.loading import LoadedModel


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
    evidence = Evidence(by_class, row.embedding, image.layout, image.scope, image.dicom)
    verdict = reach_verdict(evidence, model.rules, point)
    if verdict.reasons and model.refuses:
        raise ImageOutOfScopeError(" ".join(verdict.reasons))
    words = conclude(verdict, model.rules.task, by_class, point, model.rules.referral)
    return ImageResult(
        id=image_id,
        finding=manifest.task.positive,
        label=verdict.label,
        decision=verdict.decision,
        conclusion=ConclusionAnswer(**asdict(words)),
        probability=verdict.probability,
        probabilities=by_class,
        operating_point=point,
        uncertainty=Uncertainty(
            prediction_set=verdict.prediction_set,
            coverage=manifest.referral.coverage,
            refer_band=manifest.referral.band(point, manifest.task.positive),
        ),
        scope=ScopeAnswer(in_scope=not verdict.reasons, reasons=verdict.reasons),
        warnings=(*image.warnings, *verdict.warnings),
        image=image.facts,
    )
