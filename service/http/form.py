"""Images in multipart/form-data (RFC 7578)."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header

from cxr.images.decoding import SNIFF_BYTES, sniff_format
from service.errors import InvalidRequestError, PayloadTooLargeError
from service.http.json_body import MAX_ID_CHARS
from service.multipart import MalformedPartsError, PartsParser

PART_NAME = b"files"
"""A part of this name is an image whatever else is known of it."""

MAX_PART_HEADERS = 8  # Content-Disposition, Content-Type, and what odd clients add

_MALFORMED = "The multipart body is malformed. Send parts named files, and end with the boundary."


@dataclass(frozen=True)
class ImagePart:
    """An image; its file name may name a patient, and only returns to the client."""

    file_name: str | None
    data: bytes


class PartCollector:
    """Collects images: files, and parts named ``files`` or holding an image.

    Other parts would be ignored options, so they are rejected.
    """

    def __init__(self, boundary: bytes, max_parts: int) -> None:
        self._max_parts = max_parts
        self._begun = 0
        self._parts: list[ImagePart] = []
        self._chunks: list[bytes] = []
        self._options: dict[bytes, bytes] = {}
        self._parser = PartsParser(
            boundary,
            on_begin=self._begin,
            on_headers=self._note,
            on_data=self._take,
            on_end=self._end,
            max_headers=MAX_PART_HEADERS,
        )

    def write(self, chunk: bytes) -> None:
        """Parse the body's next piece."""
        self._parser.write(chunk)

    def finish(self) -> list[ImagePart]:
        """Return the images in order."""
        if not self._parser.is_whole:
            raise InvalidRequestError(_MALFORMED)
        return self._parts

    def _begin(self) -> None:
        if self._begun == self._max_parts:
            raise PayloadTooLargeError(
                f"At most {self._max_parts} images are accepted in one request."
            )
        self._begun += 1
        self._chunks, self._options = [], {}

    def _note(self, headers: dict[bytes, bytes]) -> None:
        _, self._options = parse_options_header(headers.get(b"content-disposition", b""))

    def _take(self, data: bytes) -> None:
        self._chunks.append(data)

    def _end(self) -> None:
        data, file_name = b"".join(self._chunks), self._options.get(b"filename")
        self._chunks = []
        if file_name == b"" and not data:  # a page's field for a file, and none was chosen
            return
        is_image = file_name is not None or self._options.get(b"name") == PART_NAME
        if not is_image and sniff_format(data[:SNIFF_BYTES]) is None:
            raise InvalidRequestError(
                f"Part {self._begun} of the form is neither a file nor an image. Send images as "
                "files, in parts named files, and options in the query: /v1/predict?model=NAME."
            )
        text = None if file_name is None else file_name.decode("utf-8", errors="replace")
        self._parts.append(ImagePart(text, data))


async def read_parts(
    content_type: str, chunks: AsyncIterator[bytes], max_parts: int
) -> list[ImagePart]:
    """Read a form's images.

    Raises:
        InvalidRequestError: The body is malformed, or a part is not an image.
        PayloadTooLargeError: There are too many parts.
    """
    _, options = parse_options_header(content_type)
    if not (boundary := options.get(b"boundary")):
        raise InvalidRequestError("The Content-Type header of a multipart body needs a boundary.")
    try:
        collector = PartCollector(boundary, max_parts)
        async for chunk in chunks:
            collector.write(chunk)
    except MalformedPartsError:
        raise InvalidRequestError(_MALFORMED) from None
    return collector.finish()


def choose_ids(file_names: Sequence[str | None]) -> list[str]:
    """Choose unique ids, up to :data:`MAX_ID_CHARS` characters: file names or positions."""
    names = [_base_name(one or "") for one in file_names]
    positions = {str(i): None for i in range(len(names))}
    bearers = Counter(names)
    return [
        name if name and bearers[name] == 1 and name not in positions else position
        for name, position in zip(names, positions, strict=True)
    ]


def _base_name(file_name: str) -> str:
    base = file_name.replace("\\", "/").rpartition("/")[2]
    return "".join(one for one in base if one.isprintable()).strip()[:MAX_ID_CHARS]
