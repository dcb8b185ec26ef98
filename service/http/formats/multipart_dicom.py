"""multipart/related of application/dicom (PS3.18, 8.6.1)."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import Response

from service.dicom.results import REPORT_SYNTAX, build_report
from service.dicom.source import SourceHeader
from service.http.formats.dicom import DicomCapture, DicomFormat, DicomObject, DicomReport
from service.http.formats.format import VARY, Explained
from service.multipart import MULTIPART_DICOM, build_related


class MultipartFormat(DicomFormat):
    """DICOM objects in parts."""

    media_type = MULTIPART_DICOM
    most = None

    def pack(self, objects: Sequence[DicomObject]) -> Response:
        """Return the objects as a response."""
        data, syntaxes = zip(*objects, strict=True)
        content_type, body = build_related(data, syntaxes)
        return Response(body, media_type=content_type, headers=VARY)


class DicomReports(MultipartFormat, DicomReport):
    """One structured report per image."""


class DicomReportAndCapture(MultipartFormat, DicomCapture):
    """The structured report, then the capture."""

    reports = True

    def draw(self, explained: Explained, header: SourceHeader | None) -> list[DicomObject]:
        """Render both objects."""
        captures = super().draw(explained, header)
        assert header is not None, "the image is DICOM"
        report = build_report(header, explained.result, explained.model)
        return [(report, REPORT_SYNTAX), *captures]
