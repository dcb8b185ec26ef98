"""multipart/related (RFC 2387) as DICOMweb has it: parsed as it arrives, and built."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable

from python_multipart.multipart import parse_options_header

from service.errors import InvalidRequestError, PayloadTooLargeError
from service.web.parts import MalformedPartsError, PartsParser

MAX_PARTS = 10_000  # a study of radiographs has a handful
MAX_BOUNDARY_BYTES = 256  # RFC 2046 (5.1.1) has 70, and Orthanc sends 73
MAX_PART_HEADERS = 16
MAX_PART_HEADER_BYTES = 4096
DICOM = "application/dicom"

MALFORMED = (
    "The multipart body is malformed. Send parts of application/dicom, closed by the boundary."
)


class RelatedParser:
    """Hands the contents of parts on as they come; holds none of them.

    Args:
        content_type: The header, with type and boundary.
        on_begin: A part begins.
        on_data: Bytes of the part.
        on_end: The part is whole.
        max_part_bytes: Largest part.
        max_parts: Most of them.

    Raises:
        InvalidRequestError: It is no multipart/related of application/dicom.
    """

    def __init__(
        self,
        content_type: str,
        *,
        on_begin: Callable[[], object],
        on_data: Callable[[bytes], object],
        on_end: Callable[[], object],
        max_part_bytes: int,
        max_parts: int = MAX_PARTS,
    ) -> None:
        boundary = read_boundary(content_type)
        self._on_begin, self._on_data = on_begin, on_data
        self._max_part_bytes = max_part_bytes
        self._max_parts = max_parts
        self._part_bytes = self._parts = 0
        self._parser = PartsParser(
            boundary,
            on_begin=self._begin,
            on_headers=lambda headers: None,
            on_data=self._data,
            on_end=on_end,
            max_headers=MAX_PART_HEADERS,
            max_header_bytes=MAX_PART_HEADER_BYTES,
        )

    def write(self, chunk: bytes) -> None:
        """Take the next piece of the body.

        Raises:
            InvalidRequestError: It is malformed.
            PayloadTooLargeError: A part is too large, or there are too many.
        """
        try:
            self._parser.write(chunk)
        except MalformedPartsError:
            raise InvalidRequestError(MALFORMED) from None

    def finish(self) -> None:
        """End the body.

        Raises:
            InvalidRequestError: It ended before its last boundary.
        """
        if not self._parser.is_whole:
            raise InvalidRequestError(MALFORMED)

    def _begin(self) -> None:
        self._part_bytes = 0
        self._parts += 1
        if self._parts > self._max_parts:
            raise PayloadTooLargeError(f"There are more than {self._max_parts} parts.")
        self._on_begin()

    def _data(self, data: bytes) -> None:
        self._part_bytes += len(data)
        if self._part_bytes > self._max_part_bytes:
            raise PayloadTooLargeError(f"A part is larger than {self._max_part_bytes} bytes.")
        self._on_data(data)


def read_boundary(content_type: str) -> bytes:
    """Give the boundary of a body.

    Raises:
        InvalidRequestError: It is no multipart/related of application/dicom.
    """
    try:
        kind, options = parse_options_header(content_type)
    except UnicodeError:
        kind, options = b"", {}
    boundary = options.get(b"boundary", b"")
    part_type = options.get(b"type", DICOM.encode()).decode("latin-1").lower()
    fits = 0 < len(boundary) <= MAX_BOUNDARY_BYTES
    if kind != b"multipart/related" or not fits or part_type != DICOM:
        raise InvalidRequestError(
            'The Content-Type must be multipart/related; type="application/dicom"; boundary=...'
        )
    return boundary


def split_related(content_type: str, body: bytes, max_parts: int = MAX_PARTS) -> list[bytes]:
    """Give the parts of a body that is held already.

    Raises:
        InvalidRequestError: It is malformed.
        PayloadTooLargeError: There are too many.
    """
    parts: list[list[bytes]] = []
    parser = RelatedParser(
        content_type,
        on_begin=lambda: parts.append([]),
        on_data=lambda data: parts[-1].append(data),  # noqa: PLW0108 - of the part at that time
        on_end=lambda: None,
        max_part_bytes=len(body),
        max_parts=max_parts,
    )
    parser.write(body)
    parser.finish()
    return [b"".join(part) for part in parts]


def build_related(parts: Iterable[bytes]) -> tuple[str, bytes]:
    """Give the Content-Type and the body of Part 10 files."""
    boundary = secrets.token_hex(16)
    pieces = []
    for part in parts:
        pieces += [f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode(), part, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return f'multipart/related; type="{DICOM}"; boundary={boundary}', b"".join(pieces)
