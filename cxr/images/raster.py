"""JPEG and PNG files to grey images."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from cxr.errors import InputError, UnreadableImageError
from cxr.images.jpeg import bytes_per_pixel, read_jpeg_frame
from cxr.images.png import decode_png
from cxr.pixels.image import DecodedImage, GrayImage
from cxr.pixels.jpeg_markers import verify_markers
from cxr.silence import silence

silence("PIL")  # of oddities that are not ours to log, and with what EXIF and text chunks say

# The declared size is checked against our own limit, which answers with a clear error.
Image.MAX_IMAGE_PIXELS = None

_CHROMA_SAMPLE_PX = 64  # colour is judged on a thumbnail of this side
_ORIENTATION_TAG = 0x0112
_TRANSPOSING_ORIENTATIONS = frozenset({5, 6, 7, 8})
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


def decode_raster(
    data: bytes,
    kind: str,
    sha256: str,
    verify_pixels: Callable[..., None],
    reduce_to_px: int,
) -> DecodedImage:
    """Decode a JPEG or PNG file.

    Colour is converted with ITU-R 601-2 luma weights, transparency is laid on black, an
    EXIF orientation is applied, and a PNG of more than 8 bits is scaled by the smallest
    power of two that holds its maximum.

    Args:
        data: The whole file.
        kind: ``jpeg`` or ``png``.
        sha256: Digest of ``data``, copied to the result.
        verify_pixels: Called with width and height before decoding, then with a frame and the
            bytes a pixel takes; raises to refuse.
        reduce_to_px: Smallest side a reduced-scale JPEG decode must keep; 0 for full size.

    Raises:
        UnreadableImageError: Truncated or corrupt.
        UnsupportedMediaError: A JPEG of a kind that only DICOM holds.
        ImageTooLargeError: It has too many scans, segments or chunks, or needs too much memory.
    """
    if kind == "png":
        png = decode_png(data, verify_pixels)
        pixels, orientation = png.pixels, _orientation_of(_exif_of(png.exif))
        height, width = pixels.shape
        chroma, notes = png.chroma, png.notes
    else:
        pixels, orientation, (width, height), chroma = _decode_jpeg(
            data, verify_pixels, reduce_to_px
        )
        notes = ()
    if orientation in _TRANSPOSING_ORIENTATIONS:
        width, height = height, width
    return DecodedImage(
        pixels=_upright(pixels, orientation),
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
            if reduce_to_px:
                _draft(picture, reduce_to_px)
            if frame is not None:
                verify_pixels(*size, 1, bytes_per_pixel(frame, *picture.size))
            orientation = _orientation_of(picture.getexif)
            picture.load()
            chroma = _mean_chroma(picture)
            gray = picture.convert("L")
    except (InputError, MemoryError):
        raise
    except Exception:  # Pillow's decoders raise whatever the bytes lead them to
        raise UnreadableImageError(
            "The JPEG file is truncated or corrupt. Send the complete original file."
        ) from None
    picture.close()  # its pixels are let go before those of the grey picture are copied
    return np.asarray(gray, dtype=np.uint8), orientation, size, chroma


def _exif_of(block: bytes) -> Callable[[], Image.Exif]:
    def read() -> Image.Exif:
        exif = Image.Exif()
        exif.load(block)
        return exif

    return read


def _orientation_of(read_exif: Callable[[], Image.Exif]) -> int:
    try:
        return int(read_exif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a broken EXIF block is no reason to refuse sound pixels
        return 1


def _upright(pixels: GrayImage, orientation: int) -> GrayImage:
    operation = _UPRIGHT_BY.get(orientation)
    return pixels if operation is None else np.ascontiguousarray(operation(pixels))


def _draft(picture: Image.Image, reduce_to_px: int) -> None:
    """Ask libjpeg for 1/2, 1/4 or 1/8 scale, whichever keeps both sides at the minimum."""
    smaller = min(picture.size)
    scale = smaller / reduce_to_px
    if scale >= 2.0:
        # Pillow picks the largest reduction whose result is at least as large as asked for.
        wanted = (int(picture.size[0] / scale), int(picture.size[1] / scale))
        picture.draft(picture.mode, wanted)


def _mean_chroma(picture: Image.Image) -> float:
    if picture.mode == "L":
        return 0.0
    colours = picture if picture.mode == "RGB" else picture.convert("RGB")
    thumbnail = colours.resize((_CHROMA_SAMPLE_PX, _CHROMA_SAMPLE_PX), Image.Resampling.BOX)
    channels = np.asarray(thumbnail, dtype=np.int16)
    return float((channels.max(axis=2) - channels.min(axis=2)).mean())
