"""Multipart bodies (RFC 2046, 5.1.1), and multipart/related of DICOM objects (RFC 2387)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import InvalidRequestError, PayloadTooLargeError

DICOM = "application/dicom"
MULTIPART_DICOM = f'multipart/related; type="{DICOM}"'

MAX_PREAMBLE_BYTES = 4096  # of prose for readers without MIME, "This is a multi-part message ..."
MAX_PARTS = 10_000  # a study of radiographs has a handful
MAX_BOUNDARY_BYTES = 256  # RFC 2046 (5.1.1) has 70, and Orthanc sends 73
MAX_PART_HEADERS = 16
MAX_PART_HEADER_BYTES = 4096  # a long file name fits

MALFORMED = (
    "The multipart body is malformed. Send parts of application/dicom, closed by the boundary."
)


class MalformedPartsError(Exception):
    """The body is not multipart with that boundary."""


class PartsParser:
    """Passes on headers (names in lower case) and content of parts, storing no content.

    Skips preamble, epilogue and blanks behind a boundary. ``is_whole`` tells whether the closing
    boundary was read.
    """

    def __init__(
        self,
        boundary: bytes,
        *,
        on_begin: Callable[[], object],
        on_headers: Callable[[dict[bytes, bytes]], object],
        on_data: Callable[[bytes], object],
        on_end: Callable[[], object],
        max_headers: int = MAX_PART_HEADERS,
    ) -> None:
        self._on_begin, self._on_headers = on_begin, on_headers
        self._on_data, self._on_end = on_data, on_end
        self._headers: dict[bytes, bytes] = {}
        self._name = self._value = b""
        self._preamble_bytes = 0
        self._in_preamble = True
        self.is_whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._whole,
            },
            max_header_count=max_headers,
            max_header_size=MAX_PART_HEADER_BYTES,
        )
        # The parser knows no preamble: it is fed as the content of a part that begins here and
        # ends at the first boundary.
        self._parser.write(b"--" + boundary + b"\r\n\r\n\r\n")

    def write(self, chunk: bytes) -> None:
        """Parse the next piece, or raise MalformedPartsError."""
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise MalformedPartsError from None

    def _begin(self) -> None:
        if not self._in_preamble:
            self._headers = {}
            self._on_begin()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _headers_end(self) -> None:
        if not self._in_preamble:
            self._on_headers(self._headers)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_preamble:
            self._on_data(data[start:end])
            return
        self._preamble_bytes += end - start
        if self._preamble_bytes > MAX_PREAMBLE_BYTES:
            raise MalformedPartsError

    def _end(self) -> None:
        if self._in_preamble:
            self._in_preamble = False
        else:
            self._on_end()

    def _whole(self) -> None:
        self.is_whole = True


class RelatedParser:
    """Passes on the contents of DICOM parts as they arrive, storing none.

    Raises:
        InvalidRequestError: The type is not multipart/related of application/dicom.
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
        self._on_begin, self._on_data = on_begin, on_data
        self._max_part_bytes = max_part_bytes
        self._max_parts = max_parts
        self._part_bytes = self._parts = 0
        self._parser = PartsParser(
            read_boundary(content_type),
            on_begin=self._begin,
            on_headers=lambda headers: None,
            on_data=self._data,
            on_end=on_end,
        )

    def write(self, chunk: bytes) -> None:
        """Parse the next piece of the body.

        Raises:
            InvalidRequestError: It is malformed.
            PayloadTooLargeError: A part is too large, or there are too many.
        """
        try:
            self._parser.write(chunk)
        except MalformedPartsError:
            raise InvalidRequestError(MALFORMED) from None

    def finish(self) -> None:
        """Raise InvalidRequestError if the closing boundary is missing."""
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
    """Return the boundary, or raise InvalidRequestError for another type."""
    try:
        kind, options = parse_options_header(content_type)
    except UnicodeError:
        kind, options = b"", {}
    boundary = options.get(b"boundary", b"")
    part_type = options.get(b"type", DICOM.encode()).decode("latin-1").lower()
    fits = 0 < len(boundary) <= MAX_BOUNDARY_BYTES
    if kind != b"multipart/related" or not fits or part_type != DICOM:
        raise InvalidRequestError(f"The Content-Type must be {MULTIPART_DICOM}; boundary=...")
    return boundary


def split_related(content_type: str, body: bytes, max_parts: int = MAX_PARTS) -> list[bytes]:
    """Return the DICOM parts of a body; raises as :class:`RelatedParser`."""
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


def build_related(
    objects: Sequence[bytes], syntaxes: Sequence[str] | None = None
) -> tuple[str, bytes]:
    """Return Content-Type and body of Part 10 files."""
    # A digest, so that repeats are equal and no part contains the boundary.
    boundary = hashlib.sha256(b"".join(objects)).hexdigest()
    pieces = []
    for index, data in enumerate(objects):
        head = f"--{boundary}\r\nContent-Type: {DICOM}"
        if syntaxes is not None:
            head += f"; transfer-syntax={syntaxes[index]}\r\nContent-Length: {len(data)}"
        pieces += [f"{head}\r\n\r\n".encode(), data, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return f"{MULTIPART_DICOM}; boundary={boundary}", b"".join(pieces)
