"""JPEG and PNG files to grey images, through Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from cxr.errors import InputError, UnreadableImageError
from cxr.image import DecodedImage, GrayImage
from cxr.silence import silence

silence("PIL")  # of oddities that are not ours to log, and with what EXIF and text chunks say

# The declared size is checked against our own limit, which answers with a clear error.
Image.MAX_IMAGE_PIXELS = None

_PILLOW_FORMATS = {"jpeg": ("JPEG",), "png": ("PNG",)}
_HIGH_DEPTH_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
_CHROMA_SAMPLE_PX = 64  # colour is judged on a thumbnail of this side
_ORIENTATION_TAG = 0x0112
_TRANSPOSING_ORIENTATIONS = frozenset({5, 6, 7, 8})
_UPRIGHT_BY = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Exif 2.3, 4.6.4: the value of Orientation with the operation that undoes it."""


def decode_raster(
    data: bytes,
    kind: str,
    sha256: str,
    verify_pixels: Callable[[int, int], None],
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
        verify_pixels: Called with width and height before decoding; raises to refuse.
        reduce_to_px: Smallest side a reduced-scale JPEG decode must keep; 0 for full size.

    Raises:
        UnreadableImageError: Truncated or corrupt.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS[kind]) as picture:
            width, height = picture.size
            verify_pixels(width, height)
            if kind == "jpeg" and reduce_to_px:
                _draft(picture, reduce_to_px)
            orientation = _orientation_of(picture)
            picture.load()
            oriented = _upright(picture, orientation)
            if orientation in _TRANSPOSING_ORIENTATIONS:
                width, height = height, width
            pixels, notes = _to_gray(oriented)
            chroma = _mean_chroma(oriented)
    except (InputError, MemoryError):
        raise
    except Exception:  # Pillow's decoders raise whatever the bytes lead them to
        raise UnreadableImageError(
            f"The {kind.upper()} file is truncated or corrupt. Send the complete original file."
        ) from None
    return DecodedImage(
        pixels=pixels,
        format=kind,
        width=width,
        height=height,
        sha256=sha256,
        chroma=chroma,
        warnings=notes,
    )


def _orientation_of(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # a broken EXIF block is no reason to refuse sound pixels
        return 1


def _upright(picture: Image.Image, orientation: int) -> Image.Image:
    operation = _UPRIGHT_BY.get(orientation)
    return picture if operation is None else picture.transpose(operation)


def _draft(picture: Image.Image, reduce_to_px: int) -> None:
    """Ask libjpeg for 1/2, 1/4 or 1/8 scale, whichever keeps both sides at the minimum."""
    smaller = min(picture.size)
    scale = smaller / reduce_to_px
    if scale >= 2.0:
        # Pillow picks the largest reduction whose result is at least as large as asked for.
        wanted = (int(picture.size[0] / scale), int(picture.size[1] / scale))
        picture.draft(picture.mode, wanted)


def _to_gray(picture: Image.Image) -> tuple[GrayImage, tuple[str, ...]]:
    if picture.mode in _HIGH_DEPTH_MODES:
        return _high_depth_to_gray(picture)
    if picture.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, rgba)
    gray = picture if picture.mode == "L" else picture.convert("L")
    return np.asarray(gray, dtype=np.uint8), ()


def _high_depth_to_gray(picture: Image.Image) -> tuple[GrayImage, tuple[str, ...]]:
    values = np.asarray(picture).astype(np.float32)
    peak = float(values.max(initial=0.0))
    bits = max(8, int(np.ceil(np.log2(peak + 1.0))) if peak > 0 else 8)
    scaled = np.clip(values * (255.0 / (2.0**bits - 1.0)) + 0.5, 0.0, 255.0)
    return scaled.astype(np.uint8), (f"Scaled from {bits} to 8 bits per pixel.",)


def _mean_chroma(picture: Image.Image) -> float:
    if picture.mode not in ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "RGBa"):
        return 0.0
    thumbnail = picture.convert("RGB").resize(
        (_CHROMA_SAMPLE_PX, _CHROMA_SAMPLE_PX), Image.Resampling.BOX
    )
    channels = np.asarray(thumbnail, dtype=np.int16)
    return float((channels.max(axis=2) - channels.min(axis=2)).mean())
