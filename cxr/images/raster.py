"""JPEG and PNG files to grey images."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cxr.errors import InputError, UnreadableImageError, UnsupportedMediaError
from cxr.images.png import decode_png
from cxr.pixels.image import DecodedImage, GrayImage
from cxr.pixels.jpeg_markers import verify_markers
from cxr.silence import silence

silence("PIL")  # of oddities that are not ours to log, and with what EXIF and text chunks say

# The declared size is checked against our own limit, which answers with a clear error.
Image.MAX_IMAGE_PIXELS = None

_CHROMA_SAMPLE_PX = 64  # colour is judged on a thumbnail of this side
_ORIENTATION_TAG = 0x0112
_UPRIGHT_BY: dict[int, Callable[[GrayImage], GrayImage]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).T,
    8: np.rot90,
}
"""Exif 2.3, 4.6.4: the value of Orientation with the operation that undoes it."""

_SIZED = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}  # T.81 table B.1, T.87
_BARE = frozenset({0x01, *range(0xD0, 0xD9), 0xFF})  # without a length: TEM, RST, SOI; fill bytes
_PROGRESSIVE, _SCAN, _END = 0xC2, 0xDA, 0xD9
_KINDS = {
    0xC3: "lossless JPEG",
    0xCB: "lossless JPEG",
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA), "JPEG with arithmetic coding"),
    0xF7: "JPEG-LS",
}
"""Outside DICOM, viewers read none of these; within DICOM some are read."""

_COEFFICIENT_BYTES = 2
_PICTURE_BYTES = {1: 3, 3: 5, 4: 9}  # of a decoded pixel by its components, with its grey copy


@dataclass(frozen=True)
class JpegFrame:
    """Frame header of a JPEG file (T.81 B.2.2).

    ``is_buffered`` tells whether all coefficients are held until the last scan: the file is
    progressive, or has a scan for each component.
    """

    width: int
    height: int
    components: int
    samples_per_pixel: float
    is_buffered: bool


def decode_raster(
    data: bytes,
    kind: str,
    sha256: str,
    verify_pixels: Callable[..., None],
    reduce_to_px: int,
) -> DecodedImage:
    """Decode a JPEG or PNG file: ITU-R 601-2 luma, transparency on black, EXIF orientation applied.

    ``verify_pixels`` is called with width and height before decoding, then with a frame and the
    bytes a pixel takes. A JPEG may be decoded at a scale that keeps ``reduce_to_px``; 0 for full
    size.

    Raises:
        InputError: The file cannot be used; the subclass says why.
    """
    if kind == "png":
        png = decode_png(data, verify_pixels)
        pixels, orientation = png.pixels, _orientation_of(png.exif)
        height, width = pixels.shape
        chroma, notes = png.chroma, png.notes
    else:
        pixels, orientation, (width, height), chroma = _decode_jpeg(
            data, verify_pixels, reduce_to_px
        )
        notes = ()
    if orientation in _UPRIGHT_BY:
        if orientation >= 5:  # transposed
            width, height = height, width
        pixels = np.ascontiguousarray(_UPRIGHT_BY[orientation](pixels))
    return DecodedImage(
        pixels=pixels,
        format=kind,
        width=width,
        height=height,
        sha256=sha256,
        chroma=chroma,
        warnings=notes,
    )


def _decode_jpeg(
    data: bytes, verify_pixels: Callable[..., None], reduce_to_px: int
) -> tuple[GrayImage, int, tuple[int, int], float]:
    """Return pixels, orientation, the source's width and height, and chroma."""
    verify_markers(data)
    frame = read_jpeg_frame(data)
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as picture:
            size = picture.size
            verify_pixels(*size)
            scale = min(size) / reduce_to_px if reduce_to_px else 0.0
            if scale >= 2.0:
                # libjpeg offers 1/2, 1/4 and 1/8; Pillow picks the smallest that is large enough.
                picture.draft(picture.mode, (int(size[0] / scale), int(size[1] / scale)))
            if frame is not None:
                verify_pixels(*size, 1, bytes_per_pixel(frame, *picture.size))
            orientation = _orientation_of(picture)
            picture.load()
            chroma = 0.0 if picture.mode == "L" else _mean_chroma(picture)
            gray = picture.convert("L")
    except (InputError, MemoryError):
        raise
    except Exception:  # Pillow's decoders raise whatever the bytes lead them to
        raise UnreadableImageError(
            "The JPEG file is truncated or corrupt. Send the complete original file."
        ) from None
    picture.close()  # its pixels are let go before those of the grey picture are copied
    return np.asarray(gray, dtype=np.uint8), orientation, size, chroma


def _orientation_of(source: Image.Image | bytes) -> int:
    try:
        if isinstance(source, bytes):
            exif = Image.Exif()
            exif.load(source)
        else:
            exif = source.getexif()
        return int(exif.get(_ORIENTATION_TAG, 1))
    except Exception:  # a broken EXIF block is no reason to reject sound pixels
        return 1


def _mean_chroma(picture: Image.Image) -> float:
    colours = picture if picture.mode == "RGB" else picture.convert("RGB")
    thumbnail = colours.resize((_CHROMA_SAMPLE_PX, _CHROMA_SAMPLE_PX), Image.Resampling.BOX)
    channels = np.asarray(thumbnail, dtype=np.int16)
    return float((channels.max(axis=2) - channels.min(axis=2)).mean())


def read_jpeg_frame(data: bytes) -> JpegFrame | None:
    """Read the frame header of a whole JPEG file; None if it has no sound one.

    Raises:
        UnsupportedMediaError: It is JPEG-LS, lossless, hierarchical, arithmetic or of 12 bits.
    """
    position, frame = 2, None
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _BARE:
            position += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : position + 2 + length]
        if marker in _SIZED and frame is None:
            frame = _frame_of(marker, body)
        elif marker == _SCAN and frame is not None and body:
            width, height, components, samples, is_progressive = frame
            is_buffered = is_progressive or body[0] < components
            return JpegFrame(width, height, components, samples, is_buffered)
        if marker in (_SCAN, _END):
            return None
        position += 2 + length
    return None


def _frame_of(marker: int, body: bytes) -> tuple[int, int, int, float, bool] | None:
    bits = body[0] if body else 8
    kind = _KINDS.get(marker, "" if bits == 8 else f"JPEG of {bits} bits")
    if kind:
        raise UnsupportedMediaError(
            f"The file is {kind}. Outside DICOM only 8-bit baseline or progressive JPEG is "
            "supported. Send that, a PNG, or the DICOM object that holds it."
        )
    if len(body) < 6 or len(body) < 6 + 3 * body[5] or not body[5]:
        return None
    total = most_across = most_down = 0
    for factors in body[7 : 6 + 3 * body[5] : 3]:
        across, down = factors >> 4, factors & 15
        total += across * down
        most_across, most_down = max(most_across, across), max(most_down, down)
    samples = total / max(most_across * most_down, 1)
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    return width, height, body[5], samples, marker == _PROGRESSIVE


def bytes_per_pixel(frame: JpegFrame, width: int, height: int) -> int:
    """Return the memory per declared pixel to decode a file to a width and height."""
    pixels = max(frame.width * frame.height, 1)
    held = _COEFFICIENT_BYTES * frame.samples_per_pixel if frame.is_buffered else 0.0
    return math.ceil(held + _PICTURE_BYTES.get(frame.components, 9) * width * height / pixels)
