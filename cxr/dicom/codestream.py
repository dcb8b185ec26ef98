"""JPEG, JPEG-LS and JPEG 2000 codestreams, verified before decoding.

Some decoders silently fill in what is missing, and all allocate what the header declares.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from cxr.errors import ImageTooLargeError, UnreadableImageError
from cxr.pixels.jpeg_markers import Stream, verify_markers

CUT = "The DICOM pixel data are truncated or corrupt. Send the complete original object."

JPEG_START, JPEG_2000_START = b"\xff\xd8\xff", b"\xff\x4f\xff\x51"
END = b"\xff\xd9"  # EOI of ITU-T T.81 and T.87, EOC of T.800 alike

_JPEG_SIZES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xF7})  # SOF0 to SOF3, SOF55 of JPEG-LS
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length: TEM, RST, SOI
_SCAN, _JFIF, _ADOBE = 0xDA, 0xE0, 0xEE
_TILE_PART, _CODING, _COMPONENT_CODING = 0xFF90, 0xFF52, 0xFF53
_DATA, _END_OF_STREAM = 0xFF93, 0xFFD9

_JPEG_2000_BEGIN = re.compile(re.escape(JPEG_2000_START))
_TAIL_BYTES = 4096

MAX_TILES = 4096  # of 128 x 128 pixels are as many as 64 million pixels have
MAX_BLOCKS = 1 << 20  # code blocks and precincts: some hundred bytes of the decoder's for each
MAX_COMPONENTS = 3
MAX_SEGMENTS = 65_536  # and tile parts: sixteen for each of as many tiles as there may be
MAX_LEVELS = 32  # T.800 table A.15


@dataclass(frozen=True)
class Header:
    """Header of a codestream.

    ``is_ycc`` tells YCbCr from RGB by JPEG's JFIF marker, else Adobe's; None without either.
    """

    width: int
    height: int
    components: int
    bits: int
    signed: bool = False
    is_ycc: bool | None = None


def read_jpeg(stream: Stream) -> Header:
    """Read the header of a JPEG or JPEG-LS frame and verify that it ends.

    Raises:
        UnreadableImageError: It is neither, or incomplete.
        ImageTooLargeError: Too many scans or segments.
    """
    if stream[:3] != JPEG_START or not _ends(stream, b"\0\xff"):
        raise UnreadableImageError(CUT)
    verify_markers(stream)
    found: Header | None = None
    is_jfif, transform = False, None
    position = 2
    while True:
        marker, position = _jpeg_marker(stream, position)
        if marker in _JPEG_BARE:
            continue
        length = int.from_bytes(stream[position : position + 2], "big")
        body = stream[position + 2 : position + length]
        if marker in _JPEG_SIZES and len(body) >= 6:
            if found is not None:
                raise UnreadableImageError(CUT)
            bits, height, width, components = struct.unpack(">BHHB", body[:6])
            found = Header(width, height, components, bits)
        elif marker == _JFIF and body[:5] == b"JFIF\0":
            is_jfif = True
        elif marker == _ADOBE and body[:5] == b"Adobe" and len(body) >= 12:
            transform = body[11]
        elif marker == _SCAN:
            break
        position += max(length, 2)
    if found is None:
        raise UnreadableImageError(CUT)
    # JFIF is YCbCr whatever else is said, as libjpeg has it.
    is_ycc = True if is_jfif else None if transform is None else transform != 0
    return replace(found, is_ycc=is_ycc)


def _jpeg_marker(stream: Stream, position: int) -> tuple[int, int]:
    if stream[position : position + 1] != b"\xff":
        raise UnreadableImageError(CUT)
    while stream[position : position + 1] == b"\xff":
        position += 1
    if position >= len(stream):
        raise UnreadableImageError(CUT)
    return stream[position], position + 1


def read_jpeg_2000(stream: Stream) -> Header:
    """Read a JPEG 2000 header and verify that all tile parts are present.

    Raises:
        UnreadableImageError: A tile part or the end is missing.
        ImageTooLargeError: Too many tiles, precincts or code blocks.
    """
    if stream[:4] != JPEG_2000_START or len(stream) < 51:
        raise UnreadableImageError(CUT)
    width, height, left, top, tile_width, tile_height, tile_left, tile_top, count = struct.unpack(
        ">8IH", stream[8:42]
    )
    columns, rows = width - left, height - top
    if min(columns, rows, tile_width, tile_height) < 1 or not 1 <= count <= MAX_COMPONENTS:
        raise UnreadableImageError(CUT)
    if any(step != 1 for at in range(count) for step in stream[43 + 3 * at : 45 + 3 * at]):
        raise UnreadableImageError(CUT)  # no radiograph is subsampled
    tiles = -(-(width - tile_left) // tile_width) * -(-(height - tile_top) // tile_height)
    if tiles > MAX_TILES:
        raise ImageTooLargeError(
            f"The compressed image is divided into {tiles} tiles; at most {MAX_TILES} are "
            "accepted. Send it in another encoding."
        )
    _verify_tile_parts(stream, columns * rows * count)
    return Header(columns, rows, count, (stream[42] & 0x7F) + 1, bool(stream[42] & 0x80))


def _verify_tile_parts(stream: Stream, samples: int) -> None:
    position, left = 2, iter(range(MAX_SEGMENTS))
    while True:
        _count(left)
        marker, length = struct.unpack(">HH", _exactly(stream, position, 4))
        if marker == _END_OF_STREAM:
            return
        if marker != _TILE_PART:
            if marker in (_CODING, _COMPONENT_CODING):
                _verify_blocks(stream[position + 2 : position + 2 + length], marker, samples)
            if marker < 0xFF00 or length < 2:
                raise UnreadableImageError(CUT)
            position += 2 + length
            continue
        (part_bytes,) = struct.unpack(">I", _exactly(stream, position + 6, 4))
        _verify_tile_header(stream, position + 12, samples, left)
        if part_bytes == 0:  # it reaches to the end
            if not _ends(stream, b"\0"):
                raise UnreadableImageError(CUT)
            return
        if part_bytes < 14:
            raise UnreadableImageError(CUT)
        position += part_bytes
        if stream[position : position + 2] == END:
            return


def _count(left: Iterator[int]) -> None:
    if next(left, None) is None:
        raise ImageTooLargeError(
            f"The compressed image is divided into more than {MAX_SEGMENTS} segments. Send it in "
            "another encoding."
        )


def _verify_tile_header(stream: Stream, position: int, samples: int, left: Iterator[int]) -> None:
    while True:
        _count(left)
        marker, length = struct.unpack(">HH", _exactly(stream, position, 4))
        if marker == _DATA:
            return
        if marker < 0xFF00 or length < 2:
            raise UnreadableImageError(CUT)
        if marker in (_CODING, _COMPONENT_CODING):
            _verify_blocks(stream[position + 2 : position + 2 + length], marker, samples)
        position += 2 + length


def _verify_blocks(segment: Stream, marker: int, samples: int) -> None:
    style = segment[2:3] if marker == _CODING else segment[3:4]
    start = 7 if marker == _CODING else 4
    if len(segment) < start + 5 or not style:
        raise UnreadableImageError(CUT)
    levels = segment[start]
    sizes = segment[start + 5 :] if style[0] & 1 else b"\xff" * (levels + 1)
    if len(sizes) <= levels or levels > MAX_LEVELS:
        raise UnreadableImageError(CUT)
    block = segment[start + 1] + segment[start + 2] + 4
    count = 0
    for level, size in enumerate(sizes[: levels + 1]):
        unit = min(block, (size & 15) + (size >> 4))  # a block is no larger than its precinct
        count += samples >> (2 * (levels - level) + unit)
    if count > MAX_BLOCKS:
        raise ImageTooLargeError(
            "The compressed image is divided into too many small blocks. Send it in another "
            "encoding."
        )


def find_jpeg_2000(stream: Stream) -> int:
    """Return where a JPEG 2000 codestream begins, or 0."""
    found = _JPEG_2000_BEGIN.search(stream)
    return 0 if found is None else found.start()


def _ends(stream: Stream, padding: bytes) -> bool:
    end = len(stream)
    while end > 0:
        tail = bytes(stream[max(end - _TAIL_BYTES, 0) : end]).rstrip(padding)
        if tail:
            at = max(end - _TAIL_BYTES, 0) + len(tail)
            return bytes(stream[max(at - len(END), 0) : at]) == END
        end -= _TAIL_BYTES
    return False


def _exactly(stream: Stream, position: int, count: int) -> Stream:
    found = stream[position : position + count]
    if len(found) != count:
        if found[:2] == END:
            return END + b"\0\0"
        raise UnreadableImageError(CUT)
    return found
