"""PNG files (W3C PNG, third edition): their chunks, and their pixels strip by strip.

Decoders of whole pictures need up to eight bytes a pixel, and drop bits of some kinds. So the data
are inflated in steps, and libpng gets each strip of rows as a small file of its own.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from imagecodecs import png_decode
from numpy.typing import NDArray

from cxr.errors import ImageTooLargeError, UnreadableImageError

MAGIC = b"\x89PNG\r\n\x1a\n"
HEADER = struct.Struct(">IIBBBBB")  # IHDR (11.2.1)
CRITICAL = (b"IHDR", b"PLTE", b"IDAT")
KEPT = (b"PLTE", b"tRNS", b"eXIf")
GREY, RGB, INDEXED, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
SAMPLES = {GREY: 1, RGB: 3, INDEXED: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), INDEXED: (1, 2, 4, 8)}
DEEP = (8, 16)  # of the other colour types

CUT = "The PNG file is truncated or corrupt. Send the complete original file."

MAX_CHUNKS = 16_384  # a file of 64 MiB in the 8 KiB chunks that libpng writes has 8,192
MAX_WIDTH = 1_000_000  # libpng's own
STRIP_BYTES = 1 << 20
INPUT_BYTES = 1 << 16  # given to zlib at once: what it leaves over is copied

ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column, first row and steps between columns and rows of each pass (8.1)."""


@dataclass(frozen=True)
class PngFile:
    """The chunks of a PNG file that decide what it shows; absent ones are empty."""

    width: int
    height: int
    depth: int
    colour: int
    is_interlaced: bool
    data: list[memoryview]
    palette: bytes = b""
    transparency: bytes = b""
    exif: bytes = b""

    @property
    def pixel_bits(self) -> int:
        """Bits of a pixel as stored."""
        return SAMPLES[self.colour] * self.depth


def read_png(data: bytes) -> PngFile:
    """Read the chunks of a file; ancillary ones with a wrong checksum are skipped.

    Raises:
        UnreadableImageError: A chunk that matters is missing, cut or corrupt.
        ImageTooLargeError: It is too wide, or in too many pieces.
    """
    header = b""
    found: dict[bytes, bytes] = {}
    pieces: list[memoryview] = []
    for kind, body in _read_chunks(data):
        if kind == b"IDAT":
            pieces.append(body)
        elif kind == b"IHDR":
            header = header or bytes(body)
        elif kind in KEPT:
            found[kind] = bytes(body)
    if len(header) != HEADER.size:
        raise UnreadableImageError(CUT)
    width, height, depth, colour, compression, filtering, interlace = HEADER.unpack(header)
    if min(width, height) < 1 or compression or filtering or interlace > 1:
        raise UnreadableImageError(CUT)
    if colour not in SAMPLES or depth not in DEPTHS.get(colour, DEEP):
        raise UnreadableImageError(CUT)
    if colour == INDEXED and b"PLTE" not in found:
        raise UnreadableImageError(CUT)
    if width > MAX_WIDTH:
        raise ImageTooLargeError(
            f"The image is {width} pixels wide; at most {MAX_WIDTH} are accepted. Send a "
            "smaller image."
        )
    kept = (found.get(kind, b"") for kind in KEPT)
    return PngFile(width, height, depth, colour, interlace == 1, pieces, *kept)


def _read_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the sound chunks up to IEND, or to the end without it (5.3)."""
    view, position, has_data = memoryview(data), len(MAGIC), False
    for _ in range(MAX_CHUNKS):
        if has_data and position == len(view):
            return
        length, kind = struct.unpack(">I4s", _exactly(view, position, 8))
        if kind == b"IEND":
            return
        body = _exactly(view, position + 8, length)
        checksum = _exactly(view, position + 8 + length, 4)
        if zlib.crc32(body, zlib.crc32(kind)) == int.from_bytes(checksum, "big"):
            yield kind, body
        elif kind in CRITICAL:
            raise UnreadableImageError(CUT)
        has_data = has_data or kind == b"IDAT"
        position += 12 + length
    raise ImageTooLargeError(
        f"The PNG file has more than {MAX_CHUNKS} chunks. Save it again with fewer."
    )


@dataclass(frozen=True)
class Strip:
    """Samples (rows, columns, samples per pixel), uint8 or uint16, and their place."""

    samples: NDArray[Any]
    rows: slice
    columns: slice


def read_strips(png: PngFile) -> Iterator[Strip]:
    """Yield all pixels, strip by strip and pass by pass, about 1 MiB each."""
    inflater = _Inflater(png.data)
    for left, top, step_x, step_y in ADAM7 if png.is_interlaced else ((0, 0, 1, 1),):
        width = -(-(png.width - left) // step_x)
        height = -(-(png.height - top) // step_y)
        if width > 0 and height > 0:
            row = top
            for samples in _read_pass(png, inflater, width, height):
                rows = slice(row, row + len(samples) * step_y, step_y)
                yield Strip(samples, rows, slice(left, None, step_x))
                row += len(samples) * step_y
    inflater.verify_end()


def _read_pass(
    png: PngFile, inflater: _Inflater, width: int, height: int
) -> Iterator[NDArray[Any]]:
    row_bytes = -(-width * png.pixel_bits // 8)
    unit = max(1, png.pixel_bits // 8)  # what a filter looks back (9.2)
    stored = np.dtype(">u2") if png.depth == 16 else np.dtype(np.uint8)
    previous = b""
    left = height
    while left:
        count = min(left, max(1, STRIP_BYTES // row_bytes))
        lines = inflater.read(count * (1 + row_bytes))
        raw = _unfiltered(previous + lines, row_bytes, unit)[1 if previous else 0 :]
        previous = b"\0" + raw[-1].tobytes()
        left -= count
        if png.depth < 8:
            yield _unpacked(raw, png.depth)[:, :width, np.newaxis]
        else:
            shape = (count, width, SAMPLES[png.colour])
            yield raw.view(stored).reshape(shape).astype(stored.newbyteorder("="), copy=False)


LIKE = {
    1: (GREY, 8),
    2: (GREY_ALPHA, 8),
    3: (RGB, 8),
    4: (RGB_ALPHA, 8),
    6: (RGB, 16),
    8: (RGB_ALPHA, 16),
}
"""Colour type and depth whose filters look back so many bytes."""


def _unfiltered(lines: bytes, row_bytes: int, unit: int) -> NDArray[np.uint8]:
    """Undo the filters of some rows, the first of which refers to no other."""
    colour, depth = LIKE[unit]
    rows = len(lines) // (1 + row_bytes)
    header = HEADER.pack(row_bytes // unit, rows, depth, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 0)), (b"IEND", b""))
    try:
        pixels = png_decode(file_of(chunks))
    except MemoryError:
        raise
    except Exception:  # of a filter that is none
        raise UnreadableImageError(CUT) from None
    if depth == 16:
        pixels = pixels.astype(">u2")
    return pixels.reshape(rows, -1).view(np.uint8)


def file_of(chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the file of these chunks, of each its type and data (5.3)."""
    framed = (
        part
        for kind, data in chunks
        for part in (
            struct.pack(">I", len(data)),
            kind,
            data,
            struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))),
        )
    )
    return b"".join((MAGIC, *framed))


def _unpacked(raw: NDArray[np.uint8], depth: int) -> NDArray[np.uint8]:
    shifts = np.arange(8 - depth, -1, -depth, dtype=np.uint8)
    samples = (raw[:, :, np.newaxis] >> shifts) & np.uint8((1 << depth) - 1)
    return samples.reshape(len(raw), -1)


class _Inflater:
    """The image data of all chunks, as one stream."""

    def __init__(self, pieces: list[memoryview]) -> None:
        self._inflating = zlib.decompressobj()
        self._input = (
            piece[at : at + INPUT_BYTES]
            for piece in pieces
            for at in range(0, len(piece), INPUT_BYTES)
        )

    def read(self, count: int) -> bytes:
        found: list[bytes] = []
        while count:
            given = self._inflating.unconsumed_tail or next(self._input, None)
            if given is None or self._inflating.eof:
                raise UnreadableImageError(CUT)
            found.append(self._decompress(given, count))
            count -= len(found[-1])
        return b"".join(found)

    def verify_end(self) -> None:
        """Verify the checksum; surplus data are tolerated."""
        while not self._inflating.eof:
            given = self._inflating.unconsumed_tail or next(self._input, None)
            if given is None:
                raise UnreadableImageError(CUT)
            if self._decompress(given, 1):
                return

    def _decompress(self, given: bytes | memoryview, count: int) -> bytes:
        try:
            return self._inflating.decompress(given, count)
        except zlib.error:
            raise UnreadableImageError(CUT) from None


def _exactly(view: memoryview, position: int, count: int) -> memoryview:
    found = view[position : position + count]
    if len(found) != count:
        raise UnreadableImageError(CUT)
    return found
