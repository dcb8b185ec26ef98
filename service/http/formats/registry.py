"""Each route's formats, the default first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from service.http.formats.dicom import DicomCapture, DicomReport
from service.http.formats.fhir import FhirReport
from service.http.formats.format import ExplainFormat, PredictFormat, RenderFormat
from service.http.formats.json import JsonExplanation, JsonPicture, JsonPrediction
from service.http.formats.multipart_dicom import DicomReportAndCapture, DicomReports
from service.http.formats.negotiation import ResponseFormat
from service.http.formats.png import PngOverlay, PngPicture

PREDICT_FORMATS: tuple[PredictFormat, ...] = (
    JsonPrediction(),
    DicomReport(),
    DicomReports(),
    FhirReport(),
)
EXPLAIN_FORMATS: tuple[ExplainFormat[Any], ...] = (
    JsonExplanation(),
    PngOverlay(),
    DicomCapture(),
    DicomReportAndCapture(),
)
RENDER_FORMATS: tuple[RenderFormat, ...] = (JsonPicture(), PngPicture())

SCHEMAS: tuple[type[BaseModel], ...] = tuple(
    schema
    for one in (*PREDICT_FORMATS, *EXPLAIN_FORMATS, *RENDER_FORMATS)
    for schema in one.schemas
)
"""Models that the formats' OpenAPI content refers to."""


def content_of(formats: Sequence[ResponseFormat]) -> dict[str, Any]:
    """Return the OpenAPI content of formats."""
    return {one.media_type: one.content for one in formats if one.content is not None}
