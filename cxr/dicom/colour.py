"""Colours of a DICOM image to grey levels: secondary captures, and radiographs exported as such."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space

from cxr.dicom.lookup_tables import LookupTable, full_scale_of, read_table
from cxr.dicom.pixel_data import Stored
from cxr.dicom.segmented_tables import read_segmented_table
from cxr.dicom.values import MalformedValueError
from cxr.errors import UnreadableImageError
from cxr.pixels.colour import to_gray
from cxr.pixels.image import GrayImage

COLOURS = ("Red", "Green", "Blue")


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
    """Return the luma of RGB or YCbCr values, shape (H, W, 3), which may be overwritten."""
    pixels, chroma = to_gray(
        stored.values, _rgb_of_ycc if stored.is_ycc else _as_it_is, stored.bits
    )
    return ColourRendering(pixels, chroma)


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
    colours = np.stack([table.look_up(codes) for table in tables], axis=-1)
    bits = full_scale_of(int(max(table.entries.max() for table in tables))).bit_length()
    pixels, chroma = to_gray(indices, lambda strip: colours[strip], bits)
    return ColourRendering(pixels, chroma)


def _table_of(ds: Dataset, colour: str) -> LookupTable:
    descriptor = f"{colour}PaletteColorLookupTableDescriptor"
    segmented = f"Segmented{colour}PaletteColorLookupTableData"
    if segmented in ds:
        return read_segmented_table(ds, descriptor, segmented)
    return read_table(ds, descriptor, f"{colour}PaletteColorLookupTableData")


def _as_it_is(strip: NDArray[Any]) -> NDArray[Any]:
    return strip


def _rgb_of_ycc(strip: NDArray[Any]) -> NDArray[Any]:
    return convert_color_space(strip, "YBR_FULL", "RGB")
