"""Colour to grey, strip by strip: no more than a strip is ever held in full precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.pixels.image import GrayImage

ROWS_AT_ONCE = 16  # a multiple of the stride below
_CHROMA_STRIDE = 4
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601-2, as Pillow's


def to_gray(
    values: NDArray[Any], to_rgb: Callable[[NDArray[Any]], NDArray[Any]], bits: int | None = None
) -> tuple[GrayImage, float]:
    """Convert colour to grey levels.

    Args:
        values: Shape (H, W) or (H, W, 3), of any integers. Colours that may be written to are
            overwritten.
        to_rgb: Gives the RGB of a strip of them, shape (rows, W, 3).
        bits: Of the full scale; None for all those of what ``to_rgb`` gives.

    Returns:
        Shape (H, W), uint8, and the mean spread of the colour channels in grey levels of 255.
    """
    gray = _room_for(values)
    spread, count, scale = 0, 0, 1.0
    for top in range(0, len(gray), ROWS_AT_ONCE):
        strip = to_rgb(values[top : top + ROWS_AT_ONCE])
        seen = strip[::_CHROMA_STRIDE, ::_CHROMA_STRIDE].astype(np.int32)
        spreads = seen.max(axis=2) - seen.min(axis=2)
        spread, count = spread + int(spreads.sum()), count + spreads.size
        scale = 255.0 / (2.0 ** (bits or 8 * strip.itemsize) - 1.0)
        luma = strip.astype(np.float32) @ _LUMA
        luma *= scale
        luma += 0.5
        gray[top : top + ROWS_AT_ONCE] = np.clip(luma, 0.0, 255.0)
    return gray, spread / count * scale


def _room_for(values: NDArray[Any]) -> GrayImage:
    """Give room for the grey levels: in place of colours that are read by then, where it can be."""
    height, width = values.shape[:2]
    flags = values.flags
    if values.dtype == np.uint8 and values.ndim == 3 and flags.writeable and flags.c_contiguous:
        return values.reshape(-1)[: height * width].reshape(height, width)
    return np.empty((height, width), dtype=np.uint8)
