"""Colours of a DICOM image to grey levels: secondary captures, and radiographs exported as such."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxr.dicom_pixels import Stored
from cxr.dicom_values import MalformedValueError
from cxr.errors import UnreadableImageError
from cxr.image import GrayImage
from cxr.lookup_tables import LookupTable, full_scale_of, read_table
from cxr.segmented_tables import read_segmented_table

COLOURS = ("Red", "Green", "Blue")
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601-2, as Pillow's
ROWS_AT_ONCE = 64  # so that what is computed in floats stays small
SAMPLED = slice(None, None, 4)  # of rows and columns, for what is a mean anyway
TO_RGB = np.array([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]])
"""PS3.3 C.7.6.3.1.2, YBR_FULL: RGB of Y, Cb - half and Cr - half."""


@dataclass(frozen=True)
class ColourRendering:
    """Grey levels of a colour image.

    Attributes:
        pixels: Shape (H, W), uint8, by luma.
        chroma: Mean spread of the colour channels, in grey levels of 255.
    """

    pixels: GrayImage
    chroma: float


def render_colour(stored: Stored) -> ColourRendering:
    """Return the luma of RGB or YCbCr values, shape (H, W, 3)."""
    white = 2.0**stored.bits - 1.0
    samples = stored.values[SAMPLED, SAMPLED].astype(np.float32)
    if stored.is_ycc:
        half = np.array([0.0, 1 << (stored.bits - 1), 1 << (stored.bits - 1)], dtype=np.float32)
        samples = np.clip((samples - half) @ TO_RGB.T.astype(np.float32), 0.0, white)
    pixels = np.empty(stored.values.shape[:2], dtype=np.uint8)
    for top in range(0, len(pixels), ROWS_AT_ONCE):
        rows = stored.values[top : top + ROWS_AT_ONCE].astype(np.float32)
        luma = rows[..., 0] if stored.is_ycc else rows @ LUMA
        pixels[top : top + ROWS_AT_ONCE] = _to_gray(luma, white)
    return ColourRendering(pixels, _spread(samples) * 255.0 / white)


def render_palette(ds: Dataset, indices: NDArray[Any]) -> ColourRendering:
    """Return the luma of palette colours (PS3.3 C.7.6.3.1.5).

    Args:
        ds: The dataset with its palette.
        indices: Shape (H, W), of any integer type.

    Raises:
        UnreadableImageError: The palette is absent or malformed.
    """
    try:
        tables = [_table_of(ds, colour) for colour in COLOURS]
    except MalformedValueError:
        raise UnreadableImageError(
            "The DICOM colour palette is absent or malformed. Send the image in grey."
        ) from None
    codes = np.arange(1 << (8 * indices.itemsize), dtype=np.int64)
    rgb = np.stack([table.look_up(codes) for table in tables], axis=-1).astype(np.float32)
    white = float(full_scale_of(max(int(table.entries.max()) for table in tables)))
    indices = indices.view(f"u{indices.itemsize}")
    pixels = np.take(_to_gray(rgb @ LUMA, white), indices, mode="clip")
    chroma = _spread(rgb[indices[SAMPLED, SAMPLED]]) * 255.0 / white
    return ColourRendering(pixels, chroma)


def _table_of(ds: Dataset, colour: str) -> LookupTable:
    descriptor = f"{colour}PaletteColorLookupTableDescriptor"
    segmented = f"Segmented{colour}PaletteColorLookupTableData"
    if segmented in ds:
        return read_segmented_table(ds, descriptor, segmented)
    return read_table(ds, descriptor, f"{colour}PaletteColorLookupTableData")


def _to_gray(luma: NDArray[np.float32], white: float) -> GrayImage:
    return np.clip(luma * np.float32(255.0 / white) + 0.5, 0.0, 255.0).astype(np.uint8)


def _spread(colours: NDArray[np.float32]) -> float:
    return float((colours.max(axis=-1) - colours.min(axis=-1)).mean())
