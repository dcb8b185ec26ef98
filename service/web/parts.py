"""The parts of a multipart body (RFC 2046, 5.1.1), parsed as they arrive."""

from __future__ import annotations

from collections.abc import Callable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

MAX_PREAMBLE_BYTES = 4096  # of prose for readers without MIME, "This is a multi-part message ..."


class MalformedPartsError(Exception):
    """The body is not multipart with that boundary."""


class PartsParser:
    """Hands headers and contents of parts on as they come; holds no content.

    What stands before the first boundary and behind the last is passed over, and so are blanks
    between a boundary and the end of its line.

    Args:
        boundary: Of the Content-Type header.
        on_begin: A part begins.
        on_headers: Its headers are whole: values by name in small letters.
        on_data: Bytes of its content.
        on_end: It is whole.
        max_headers: Most headers of a part.
        max_header_bytes: Longest of them.
    """

    def __init__(
        self,
        boundary: bytes,
        *,
        on_begin: Callable[[], object],
        on_headers: Callable[[dict[bytes, bytes]], object],
        on_data: Callable[[bytes], object],
        on_end: Callable[[], object],
        max_headers: int,
        max_header_bytes: int,
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
            max_header_size=max_header_bytes,
        )
        # The parser knows no preamble. It takes it for the content of a part that we begin here,
        # and ends that at the first boundary: at once if the body begins with it.
        self._parser.write(b"--" + boundary + b"\r\n\r\n\r\n")

    def write(self, chunk: bytes) -> None:
        """Take the next piece of the body.

        Raises:
            MalformedPartsError: It is malformed, or begins with anything but a short preamble.
        """
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
