"""JPEG files by themselves: which kinds are read, and what memory one takes, by its header."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cxr.errors import UnsupportedMediaError

SIZED = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # T.81 table B.1, T.87
BARE = frozenset({0x01, *range(0xD0, 0xD9), 0xFF})  # without a length: TEM, RST, SOI; fill bytes
PROGRESSIVE, SCAN, END = 0xC2, 0xDA, 0xD9
KINDS = {
    0xC3: "lossless JPEG",
    0xCB: "lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA), "JPEG with arithmetic coding"),
    0xF7: "JPEG-LS",
}
"""Of a file by itself, viewers read none of these; within DICOM some are."""

COEFFICIENT_BYTES = 2
PICTURE_BYTES = {1: 3, 3: 5, 4: 9}  # of a decoded pixel by its components, with its grey copy


@dataclass(frozen=True)
class JpegFrame:
    """What the frame header of a file says (T.81 B.2.2).

    Attributes:
        width: Columns.
        height: Rows.
        components: Number of colours.
        samples_per_pixel: Of all components, chroma subsampling counted.
        is_buffered: Whether all coefficients are held until the last scan: the file is
            progressive, or has a scan for each component.
    """

    width: int
    height: int
    components: int
    samples_per_pixel: float
    is_buffered: bool


def read_jpeg_frame(data: bytes) -> JpegFrame | None:
    """Read the frame header of a file.

    Args:
        data: A whole file that begins as a JPEG does.

    Returns:
        None if it has no sound one: what is wrong with it, the decoder finds.

    Raises:
        UnsupportedMediaError: It is JPEG-LS, lossless, hierarchical, arithmetic or of 12 bits.
    """
    position, frame = 2, None
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in BARE:
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : position + 2 + length]
        if marker in SIZED and frame is None:
            frame = _frame_of(marker, body)
        elif marker == SCAN and frame is not None and body:
            is_buffered = frame.is_buffered or body[0] < frame.components
            return JpegFrame(
                frame.width, frame.height, frame.components, frame.samples_per_pixel, is_buffered
            )
        if marker in (SCAN, END):
            return None
        position += 2 + length
    return None


def _frame_of(marker: int, body: bytes) -> JpegFrame | None:
    bits = body[0] if body else 8
    kind = KINDS.get(marker, "" if bits == 8 else f"JPEG of {bits} bits")
    if kind:
        raise UnsupportedMediaError(
            f"The file is {kind}. By itself JPEG of 8 bits is read, baseline or progressive. "
            "Send that, a PNG, or the DICOM object that holds it."
        )
    if len(body) < 6 or len(body) < 6 + 3 * body[5] or not body[5]:
        return None
    factors = [(byte >> 4, byte & 15) for byte in body[7 : 6 + 3 * body[5] : 3]]
    most = max(across for across, _ in factors) * max(down for _, down in factors)
    samples = sum(across * down for across, down in factors) / max(most, 1)
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    return JpegFrame(width, height, body[5], samples, marker == PROGRESSIVE)


def bytes_per_pixel(frame: JpegFrame, width: int, height: int) -> int:
    """Return how many bytes of memory a declared pixel of a file takes to decode, at most.

    Args:
        frame: Its header.
        width: Columns it will be decoded to, at a reduced scale or not.
        height: Rows likewise.
    """
    pixels = max(frame.width * frame.height, 1)
    held = COEFFICIENT_BYTES * frame.samples_per_pixel if frame.is_buffered else 0.0
    return math.ceil(held + PICTURE_BYTES.get(frame.components, 9) * width * height / pixels)
