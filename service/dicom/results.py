"""What DICOM objects a result becomes. Each is a Part 10 file, the same bytes for the same result.

Pure functions for any thread. highdicom, needed for reports, is loaded by the first of them or by
:func:`warm_up`.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from service.answers import ImageResult, ModelRef
from service.dicom import equipment
from service.dicom.capture import Capture, render_capture
from service.dicom.concepts import (
    FINDINGS,
    PRESENCE,
    PROBABILITY,
    THRESHOLD,
    UNDETERMINED,
    Concept,
)
from service.dicom.remarks import class_remarks
from service.dicom.source import SourceHeader, read_source
from service.dicom.uids import Kind, derive_uid
from service.errors import DicomResultError
from service.telemetry.logs import log_event

Source: TypeAlias = bytes | SourceHeader
"""A DICOM Part 10 file, or the header read of one."""

REPORT_SYNTAX = str(ExplicitVRLittleEndian)
CAPTURE_SYNTAX = str(JPEGBaseline8Bit)
"""Transfer syntaxes of what is built here."""

DIGITS = 6  # of probabilities: a decimal string has 16 characters
MAX_DESCRIPTION = 1024  # value representation ST


def can_build_reports() -> bool:
    """Tell whether highdicom is installed. Loads nothing."""
    return importlib.util.find_spec("highdicom") is not None


def can_code(finding: str) -> bool:
    """Tell whether there are codes for a model's finding."""
    return finding in FINDINGS


@cache
def warm_up() -> None:
    """Load highdicom and build a first report, which takes up to a second.

    Raises:
        ImportError: highdicom is not installed.
    """
    from pydicom.dataset import Dataset

    from service.dicom.source import NO_DATE, NO_TIME

    ds = Dataset()
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID"):
        setattr(ds, keyword, "")
    for keyword in ("AccessionNumber", "StudyDate", "StudyTime", "ReferringPhysicianName"):
        setattr(ds, keyword, "")
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(ds, keyword, derive_uid("finding", keyword))
    model = ModelRef(name="", version="", sha256="", engine="", provider="", precision="")
    header = SourceHeader(ds, (), NO_DATE, NO_TIME)
    build_not_analysed(header, "Warm-up.", model, next(iter(FINDINGS)))


def build_report(source: Source, result: ImageResult, model: ModelRef) -> bytes:
    """Build the Comprehensive 3D SR (TID 1500) of one image's result.

    Args:
        source: The image that was read.
        result: What was answered for it.
        model: Which model answered.

    Raises:
        UnreadableImageError: The source's header cannot be read.
        DicomResultError: No object can be made of it.
        ImportError: highdicom is not installed.
    """
    from service.dicom.structured_report import Statement, render_report

    header, point = _header_of(source), result.operating_point
    origin = (*header.identity, model.sha256, point.name)
    scope, words = result.scope, result.conclusion
    numbers = (
        (PROBABILITY, round(result.probability, DIGITS)),
        (THRESHOLD, round(point.threshold, DIGITS)),
    )
    statement = Statement(
        sop_instance_uid=derive_uid("SR", *origin),
        series_instance_uid=derive_uid("SR series", *origin),
        tracking_uid=derive_uid("finding", *origin),
        model=model,
        parameters=(
            *_parameters(model),
            f"operating_point: {point.name}",
            f"threshold: {round(point.threshold, DIGITS)}",
            f"sensitivity_on_validation: {round(point.sensitivity, DIGITS)}",
            f"specificity_on_validation: {round(point.specificity, DIGITS)}",
        ),
        finding=_concept_of(result.finding),
        presence=PRESENCE[result.decision],
        numbers=numbers if scope.in_scope else (),
        comments=(
            f"{words.headline}.",
            *(words.reasons if scope.in_scope else ()),
            f"Scope: {'in scope' if scope.in_scope else 'out of scope'}.",
            *(f"Out of scope: {reason}" for reason in scope.reasons),
            *result.warnings,
            *class_remarks(result),
        ),
    )
    return _guarded(lambda: render_report(header, statement))


def build_not_analysed(source: Source, reason: str, model: ModelRef, finding: str) -> bytes:
    """Build the SR that says that an image was not analysed, and why.

    Args:
        source: The image, as far as its header goes.
        reason: A sentence without anything of the patient, a problem's ``detail`` for instance.
        model: Which model should have answered.
        finding: What it looks for, as ``ImageResult.finding`` names it.

    Raises:
        UnreadableImageError: The source's header cannot be read.
        DicomResultError: No object can be made of it.
        ImportError: highdicom is not installed.
    """
    from service.dicom.structured_report import Statement, render_report

    header = _header_of(source)
    origin = (*header.identity, model.sha256, "not analysed")
    statement = Statement(
        sop_instance_uid=derive_uid("not analysed", *origin),
        series_instance_uid=derive_uid("SR series", *origin),
        tracking_uid=derive_uid("finding", *origin),
        model=model,
        parameters=_parameters(model),
        finding=_concept_of(finding),
        presence=UNDETERMINED,
        numbers=(),
        comments=(f"Not analysed: {reason}",),
    )
    return _guarded(lambda: render_report(header, statement))


def build_capture(
    source: Source,
    result: ImageResult,
    model: ModelRef,
    overlay: NDArray[np.uint8],
    *,
    target: str,
    method: str,
    alpha: float,
) -> bytes:
    """Build the Secondary Capture of an overlay. Does without highdicom.

    Args:
        source: The image that was explained.
        result: What was answered for it.
        model: Which model answered.
        overlay: The picture, shape (H, W, 3); shown at 512 to 1,024 px.
        target: The explained class.
        method: How it was explained.
        alpha: Opacity of the heatmap's 1.

    Raises:
        UnreadableImageError: The source's header cannot be read.
        DicomResultError: No object can be made of it.
    """
    header, point = _header_of(source), result.operating_point
    origin = (*header.identity, model.sha256, point.name, target, method, repr(alpha))
    kinds: tuple[Kind, Kind] = ("SC", "SC series")
    uid, series_uid = (derive_uid(kind, *origin) for kind in kinds)
    words = result.conclusion
    shown = (
        f"{method} heatmap of class {target}, {equipment.model_title(model)}, "
        f"probability {result.probabilities[target]:.3f}. {words.headline}."
        if result.scope.in_scope
        else f"No heatmap, {equipment.model_title(model)}. {words.headline}. "
        + " ".join(words.reasons)
    )
    description = f"{shown} {equipment.NOT_A_DEVICE}"[:MAX_DESCRIPTION]
    how = method if result.scope.in_scope else None
    capture = Capture(uid, series_uid, model, overlay, how, description)
    return _guarded(lambda: render_capture(header, capture))


def _header_of(source: Source) -> SourceHeader:
    return source if isinstance(source, SourceHeader) else read_source(source)


def _concept_of(finding: str) -> Concept:
    if not can_code(finding):
        raise DicomResultError(
            "There is no code for what this model finds. The result can be had as JSON."
        )
    return FINDINGS[finding]


def _parameters(model: ModelRef) -> tuple[str, ...]:
    return (
        f"model_sha256: {model.sha256}",
        f"engine: {model.engine}",
        f"provider: {model.provider}",
        f"precision: {model.precision}",
    )


def _guarded(render: Callable[[], bytes]) -> bytes:
    """Render, and tell of a failure nothing but that there was one."""
    try:
        return render()
    except Exception as error:  # libraries' own, whose texts quote values, too
        log_event(logging.ERROR, "DICOM result failed", error)
        raise DicomResultError(
            "No DICOM object could be made for this image. The result can be had as JSON. "
            "Report the request id."
        ) from None
