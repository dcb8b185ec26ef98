"""multipart/related of application/dicom (PS3.18, 8.6.1): one object in each part."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from starlette.responses import Response

from service.dicom.results import REPORT_SYNTAX, build_report
from service.dicom.source import SourceHeader
from service.http.formats.dicom import DICOM, DicomCapture, DicomFormat, DicomObject, DicomReport
from service.http.formats.format import VARY, Explained

MULTIPART_DICOM = 'multipart/related; type="application/dicom"'


class MultipartFormat(DicomFormat):
    """Common to all multiparts."""

    media_type = MULTIPART_DICOM
    most = None

    def pack(self, objects: Sequence[DicomObject]) -> Response:
        """Return the response that carries the objects in parts."""
        # A digest, so that repeats are equal and no part contains the boundary.
        boundary = hashlib.sha256(b"".join(data for data, _ in objects)).hexdigest()
        body = b"".join(
            f"--{boundary}\r\nContent-Type: {DICOM}; transfer-syntax={syntax}\r\n"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
            + data
            + b"\r\n"
            for data, syntax in objects
        )
        return Response(
            body + f"--{boundary}--\r\n".encode(),
            media_type=f"{MULTIPART_DICOM}; boundary={boundary}",
            headers=VARY,
        )


class DicomReports(MultipartFormat, DicomReport):
    """The structured reports of all images, in their order."""


class DicomReportAndCapture(MultipartFormat, DicomCapture):
    """The structured report, then the overlay as a Secondary Capture."""

    reports = True

    def draw(self, explained: Explained, header: SourceHeader | None) -> list[DicomObject]:
        """Render both objects."""
        captures = super().draw(explained, header)
        assert header is not None, "the image is DICOM"
        report = build_report(header, explained.result, explained.model)
        return [(report, REPORT_SYNTAX), *captures]
