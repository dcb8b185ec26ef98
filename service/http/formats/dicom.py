"""application/dicom: one structured report or Secondary Capture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from starlette.responses import Response

from service.dicom.results import (
    CAPTURE_SYNTAX,
    REPORT_SYNTAX,
    build_capture,
    build_report,
    can_build_reports,
)
from service.dicom.source import SourceHeader
from service.errors import DicomResultsDisabledError
from service.http.formats.format import (
    BINARY,
    VARY,
    AllOrNothing,
    Explained,
    ExplainFormat,
    PredictOutcomes,
    SourcedResult,
)
from service.http.formats.negotiation import ResponseFormat
from service.http.formats.sources import Sources
from service.http.receive import runtime_of
from service.models.models import ServedModel
from service.multipart import DICOM
from service.settings import Settings
from service.web.requests import RequestContext, context_of

DicomObject = tuple[bytes, str]
"""A Part 10 file and its transfer syntax."""


def offers_dicom(settings: Settings, *, reports: bool) -> bool:
    """Whether DICOM answers are available; reports need highdicom."""
    return settings.dicom_results != "off" and (not reports or can_build_reports())


class DicomFormat(ResponseFormat):
    """DICOM objects of ``most`` images, None for any number."""

    media_type = DICOM
    content = BINARY
    reports: ClassVar[bool] = True
    most: ClassVar[int | None] = 1

    def open_sources(self, settings: Settings, served: ServedModel) -> Sources:
        """Require a header of every image."""
        if not offers_dicom(settings, reports=self.reports):
            raise DicomResultsDisabledError(
                "DICOM answers are not available here. Ask for application/json, or on /v1/predict "
                "application/fhir+json."
            )
        return Sources(served, most=self.most)

    def pack(self, objects: Sequence[DicomObject]) -> Response:
        """Return the objects as a response."""
        [(data, syntax)] = objects
        return Response(data, media_type=f"{DICOM}; transfer-syntax={syntax}", headers=VARY)


class DicomReport(DicomFormat, AllOrNothing):
    """A structured report."""

    async def build(self, predicted: PredictOutcomes, results: Sequence[SourcedResult]) -> Response:
        """Build one report per image."""
        request, model = predicted.request, predicted.served.reference
        pool, deadline = runtime_of(request).pool, context_of(request).deadline
        objects = []
        for header, result in results:  # one at a time: other requests' work comes in between
            assert header is not None, "every image is DICOM"
            report = await pool.run(partial(build_report, header, result, model), deadline)
            objects.append((report, REPORT_SYNTAX))
        return self.pack(objects)


class DicomCapture(DicomFormat, ExplainFormat[list[DicomObject]]):
    """The overlay as a Secondary Capture."""

    reports = False

    def draw(self, explained: Explained, header: SourceHeader | None) -> list[DicomObject]:
        """Render the capture."""
        assert header is not None, "the image is DICOM"
        order = explained.order
        capture = build_capture(
            header,
            explained.result,
            explained.model,
            order.render_overlay(),
            target=order.caption.target,
            method=order.caption.method,
            alpha=order.alpha,
        )
        return [(capture, CAPTURE_SYNTAX)]

    def respond(
        self, drawn: list[DicomObject], served: ServedModel, context: RequestContext
    ) -> Response:
        """Return the objects."""
        return self.pack(drawn)
