"""Pictures as PNG files (ISO/IEC 15948), compressed on several cores.

Libraries compress a file as one stream on one core, with the best of five filters for each row. One
filter for all rows makes the files of pictures no larger, and takes half as long.
"""

from __future__ import annotations

import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cxr.images.png_stream import HEADER, INDEXED, RGB, file_of

UP = 2  # filter type: the difference to the row above

LEVEL = 1  # files are a tenth larger than at the default, and take a quarter of the time
ZLIB_HEADER = b"\x78\x01"
MOST_PIECES = 4


def write_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a picture (H, W, 3)."""
    return _write(pixels, RGB, ())


def write_palette_png(
    indexes: NDArray[np.uint8], palette: NDArray[np.uint8], opacity: NDArray[np.uint8]
) -> bytes:
    """Encode places (H, W) in a palette (256, 3) whose colours have an opacity (256,)."""
    tables = ((b"PLTE", palette.tobytes()), (b"tRNS", opacity.tobytes()))
    return _write(indexes[..., np.newaxis], INDEXED, tables)


def _write(
    pixels: NDArray[np.uint8], colour_type: int, tables: tuple[tuple[bytes, bytes], ...]
) -> bytes:
    height, width, channels = pixels.shape
    flat = pixels.reshape(height, width * channels)
    rows = np.empty((height, 1 + flat.shape[1]), dtype=np.uint8)
    rows[:, 0] = UP
    rows[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=rows[1:, 1:])
    header = HEADER.pack(width, height, 8, colour_type, 0, 0, 0)
    return file_of(((b"IHDR", header), *tables, (b"IDAT", _compress(rows)), (b"IEND", b"")))


def _compress(rows: NDArray[np.uint8]) -> bytes:
    """Compress rows into one zlib stream (RFC 1950) whose pieces were made side by side."""
    pieces = np.array_split(rows, _cores())
    modes = [zlib.Z_SYNC_FLUSH] * (len(pieces) - 1) + [zlib.Z_FINISH]
    packed = _threads().map(_deflate, pieces, modes)
    return b"".join((ZLIB_HEADER, *packed, struct.pack(">I", zlib.adler32(rows.data))))


def _deflate(piece: NDArray[np.uint8], mode: int) -> bytes:
    one = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return one.compress(np.ascontiguousarray(piece).data) + one.flush(mode)


@cache
def _cores() -> int:
    return min(MOST_PIECES, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_cores(), thread_name_prefix="png")
