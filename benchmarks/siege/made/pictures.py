"""JPEG and PNG files that are small and decode to a lot, and a sound one to compare with."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from benchmarks.siege.made.dicom import pixels

SIDE = 512
MIB = 1 << 20

GREY, RGBA = 0, 6
SAMPLES = {GREY: 1, RGBA: 4}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2))  # fmt: skip
"""First column and row of each pass, and the steps between them (PNG, 8.2)."""

SHORTEST_RUN, LONGEST_RUN = 1 << 14, (1 << 15) - 1
"""Blocks for which the longest of the end-of-band symbols stands (ITU-T T.81, G.1.2.2)."""


def sound_jpeg(level: int = 0) -> bytes:
    """Give what an honest client sends: a grey JPEG of 512 by 512 pixels."""
    grey = np.frombuffer(pixels(SIDE, SIDE, level), np.uint8).reshape(SIDE, SIDE)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def flat_png(side: int, colour: int, depth: int = 16, *, interlaced: bool = False) -> bytes:
    """Give a black PNG, which deflates to a thousandth.

    Args:
        side: Width and height in pixels.
        colour: Colour type, ``GREY`` or ``RGBA``.
        depth: Bits of a sample.
        interlaced: Adam7, in seven passes.
    """
    pixel_bytes = SAMPLES[colour] * depth // 8
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    # Each row is a filter byte, 0 as its pixels are, and the pixels.
    raw_bytes = sum(
        len(range(top, side, down)) * (1 + pixel_bytes * len(range(left, side, right)))
        for left, top, right, down in passes
    )
    packer = zlib.compressobj(9)
    zeros = bytes(MIB)
    packed = [packer.compress(zeros) for _ in range(raw_bytes // MIB)]
    packed += [packer.compress(bytes(raw_bytes % MIB)), packer.flush()]
    head = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, int(interlaced))
    chunks = ((b"IHDR", head), (b"IDAT", b"".join(packed)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*one) for one in chunks)


def many_scans(count: int, side: int = 2000) -> bytes:
    """Give a grey progressive JPEG that goes over all its blocks again and again.

    One scan holds the DC coefficients, all others say in a few bytes that no block has an AC
    coefficient: 14 bytes, and the work of a whole image.

    Args:
        count: Scans of AC coefficients.
        side: Width and height in pixels, from 1,024.
    """
    blocks = (-(-side // 8)) ** 2
    tables = (
        _segment(0xDB, b"\0" + bytes([1]) * 64)
        + _segment(0xC2, struct.pack(">BHHB3B", 8, side, side, 1, 1, 0x11, 0))
        + _segment(0xC4, _one_code(0x00, 0x00))  # DC: no difference
        + _segment(0xC4, _one_code(0x10, 0xE0))  # AC: a run of 2^14 to 2^15 - 1 blocks
    )
    first = _segment(0xDA, bytes([1, 1, 0x00, 0, 0, 0])) + bytes(-(-blocks // 8))
    again = _segment(0xDA, bytes([1, 1, 0x00, 1, 63, 0])) + _end_of_bands(blocks)
    return b"\xff\xd8" + tables + first + again * count + b"\xff\xd9"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def _one_code(table: int, symbol: int) -> bytes:
    """Give a Huffman table whose only code is one zero bit."""
    return bytes([table, 1, *([0] * 15), symbol])


def _end_of_bands(blocks: int) -> bytes:
    """Give the entropy-coded data that says of so many blocks that they hold nothing."""
    runs = -(-blocks // LONGEST_RUN)
    lengths = [blocks * (i + 1) // runs - blocks * i // runs for i in range(runs)]
    bits = "".join(f"0{length - SHORTEST_RUN:014b}" for length in lengths)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
