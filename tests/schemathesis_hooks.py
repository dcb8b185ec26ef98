"""What Schemathesis does not know by itself: how a multipart/related body is written."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.serializer("multipart/related")
def write_related(context: Any, value: Any) -> bytes:
    """Give one part, or what was generated as it is."""
    if not isinstance(value, bytes):
        return str(value).encode()
    return b"--x\r\nContent-Type: application/dicom\r\n\r\n" + value + b"\r\n--x--\r\n"
