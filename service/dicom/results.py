"""Build DICOM objects of results, reproducible to the byte. Any thread.

Raises:
    UnreadableImageError: The source's header cannot be read.
    DicomResultError: The object cannot be built.
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
from service.dicom.source import SourceHeader, read_source
from service.dicom.uids import Kind, derive_uid
from service.errors import DicomResultError
from service.telemetry.logs import log_event

Source: TypeAlias = bytes | SourceHeader
"""A DICOM Part 10 file, or the header of one."""

REPORT_SYNTAX = str(ExplicitVRLittleEndian)
CAPTURE_SYNTAX = str(JPEGBaseline8Bit)
"""Transfer syntaxes of reports and captures."""

DIGITS = 6  # of probabilities: a decimal string has 16 characters
MAX_DESCRIPTION = 1024  # value representation ST


def can_build_reports() -> bool:
    """Whether highdicom is installed."""
    return importlib.util.find_spec("highdicom") is not None


def can_code(finding: str) -> bool:
    """Whether a finding has a code."""
    return finding in FINDINGS


@cache
def warm_up() -> None:
    """Load highdicom and build a first report, which takes up to a second."""
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
    header = SourceHeader.of(ds, (), (NO_DATE, NO_TIME))
    build_not_analysed(header, "Warm-up.", model, next(iter(FINDINGS)))


def build_report(source: Source, result: ImageResult, model: ModelRef) -> bytes:
    """Build one result's Comprehensive 3D SR (TID 1500)."""
    from service.dicom.structured_report import ReportContent, render_report

    header, point = _header_of(source), result.operating_point
    origin = origin_of(header, result, model)
    scope, words = result.scope, result.conclusion
    numbers = (
        (PROBABILITY, round(result.probability, DIGITS)),
        (THRESHOLD, round(point.threshold, DIGITS)),
    )
    content = ReportContent(
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
            f"population: {'none' if result.population is None else result.population.name}",
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
    return _guarded(lambda: render_report(header, content))


def build_not_analysed(source: Source, reason: str, model: ModelRef, finding: str) -> bytes:
    """Build the SR on why an image was not analysed, without patient data."""
    from service.dicom.structured_report import ReportContent, render_report

    header = _header_of(source)
    origin = (*header.identity, model.sha256, "not analysed")
    content = ReportContent(
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
    return _guarded(lambda: render_report(header, content))


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
    """Build a Secondary Capture of an overlay (H, W, 3), uint8, without highdicom."""
    header = _header_of(source)
    origin = (*origin_of(header, result, model), target, method, repr(alpha))
    kinds: tuple[Kind, Kind] = ("SC", "SC series")
    uid, series_uid = (derive_uid(kind, *origin) for kind in kinds)
    words = result.conclusion
    shown = (
        f"{method} heatmap of class {target}, {equipment.model_title(model)}, "
        f"probability {result.probabilities[target]:.3f}. {words.headline}. "
        + " ".join(result.warnings)
        if result.scope.in_scope
        else f"No heatmap, {equipment.model_title(model)}. {words.headline}. "
        + " ".join(words.reasons)
    )
    room = MAX_DESCRIPTION - len(equipment.NOT_A_DEVICE) - 1
    description = f"{shown[:room].rstrip()} {equipment.NOT_A_DEVICE}"
    how = method if result.scope.in_scope else None
    capture = Capture(uid, series_uid, model, overlay, how, description)
    return _guarded(lambda: render_capture(header, capture))


def origin_of(source: SourceHeader, result: ImageResult, model: ModelRef) -> tuple[str, ...]:
    """Return what the UIDs of a result's objects follow from."""
    population, scope = result.population, result.scope
    # Not of the pixels alone: the age, which is corrected, and CXR_UNFAMILIAR decide on these.
    judged = (
        "in scope" if scope.in_scope else " ".join(scope.codes),
        "" if population is None else population.name,
        "validated" if population is not None and population.validated else "",
    )
    return (*source.identity, model.sha256, result.operating_point.name, *judged)


def conclusion_text(result: ImageResult) -> str:
    """Return conclusion, operating point, population and intended use as a paragraph."""
    words = result.conclusion
    sentences = [f"{words.headline}.", *words.reasons]
    if result.scope.in_scope:
        sentences.append(f"Operating point {result.operating_point.name}.")
        if result.population is not None:
            sentences.append(f"Population: {result.population.who}.")
            if not result.population.validated:
                sentences.append("The model was not validated on them.")
        else:
            sentences.append("The model was not validated on patients like this one.")
    return " ".join((*sentences, equipment.NOT_A_DEVICE))


def class_remarks(result: ImageResult) -> tuple[str, ...]:
    """Return a sentence of all probabilities, for several classes in scope."""
    if len(result.probabilities) == 2 or not result.scope.in_scope:
        return ()
    told = ", ".join(f"{name} {value:.3f}" for name, value in result.probabilities.items())
    return (f"Probabilities of the classes: {told}.",)


def _header_of(source: Source) -> SourceHeader:
    return source if isinstance(source, SourceHeader) else read_source(source)


def _concept_of(finding: str) -> Concept:
    if not can_code(finding):
        raise DicomResultError(
            "There is no code for the finding of this model. The result is available as JSON."
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
    try:
        return render()
    except Exception as error:  # of the libraries too, whose messages quote values
        log_event(logging.ERROR, "DICOM result failed", error)
        raise DicomResultError(
            "No DICOM object could be built for this image. The result is available as JSON. "
            "Report the request id."
        ) from None
