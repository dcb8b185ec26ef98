"""Images in multipart/form-data (RFC 7578), parsed as they arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import InvalidRequestError, PayloadTooLargeError

PART_NAME = b"files"
MAX_PART_HEADERS = 8  # Content-Disposition, Content-Type, and what odd clients add
MAX_PART_HEADER_BYTES = 4096  # a long file name fits

_MALFORMED = "The multipart body is malformed. Send parts named files, and end with the boundary."


class PartCollector:
    """Collects the contents of the parts.

    Their file names are never kept: they may be names of patients.

    Args:
        boundary: Of the Content-Type header.
        max_parts: Most parts accepted.
    """

    def __init__(self, boundary: bytes, max_parts: int) -> None:
        self._max_parts = max_parts
        self._parts: list[bytes] = []
        self._chunks: list[bytes] = []
        self._header_name = b""
        self._header_value = b""
        self._has_name = False
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
            max_header_count=MAX_PART_HEADERS,
            max_header_size=MAX_PART_HEADER_BYTES,
        )

    def write(self, chunk: bytes) -> None:
        """Take the next piece of the body.

        Raises:
            FormParserError: It is malformed.
            InvalidRequestError: A part has not the name that is read.
            PayloadTooLargeError: There are too many parts.
        """
        self._parser.write(chunk)

    def finish(self) -> list[bytes]:
        """Give the contents of all parts, in order.

        Raises:
            InvalidRequestError: The body ended before its last boundary.
        """
        if not self._ended:
            raise InvalidRequestError(_MALFORMED)
        return self._parts

    def _on_part_begin(self) -> None:
        if len(self._parts) == self._max_parts:
            raise PayloadTooLargeError(
                f"At most {self._max_parts} images are accepted in one request."
            )
        self._chunks = []
        self._has_name = False

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(self._header_value)
            self._has_name = options.get(b"name") == PART_NAME
        self._header_name = self._header_value = b""

    def _on_headers_finished(self) -> None:
        if not self._has_name:
            raise InvalidRequestError("Only parts named files are read. Rename or remove others.")

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._chunks.append(data[start:end])

    def _on_part_end(self) -> None:
        self._parts.append(b"".join(self._chunks))

    def _on_end(self) -> None:
        self._ended = True


async def read_parts(
    content_type: str, chunks: AsyncIterator[bytes], max_parts: int
) -> list[bytes]:
    """Read the contents of all parts named ``files``.

    Args:
        content_type: The request's header, with the boundary.
        chunks: The body.
        max_parts: Most parts accepted.

    Raises:
        InvalidRequestError: The body is malformed or has parts of other names.
        PayloadTooLargeError: There are too many parts.
    """
    _, options = parse_options_header(content_type)
    if not (boundary := options.get(b"boundary")):
        raise InvalidRequestError("The Content-Type header of a multipart body needs a boundary.")
    try:
        collector = PartCollector(boundary, max_parts)
        async for chunk in chunks:
            collector.write(chunk)
    except FormParserError:
        raise InvalidRequestError(_MALFORMED) from None
    return collector.finish()
