"""Colour DICOM images to grey levels, strip by strip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space

from cxr.dicom.lookup_tables import LookupTable, full_scale_of, read_segmented_table, read_table
from cxr.dicom.pixel_data import StoredValues
from cxr.dicom.values import MalformedValueError
from cxr.errors import UnreadableImageError
from cxr.pixels.image import GrayImage

COLOURS = ("Red", "Green", "Blue")


def render_colour(stored: StoredValues) -> tuple[GrayImage, float]:
    """Return luma and mean chroma of RGB or YCbCr values (H, W, 3), which may be overwritten."""
    return _to_gray(stored.values, _rgb_of_ycc if stored.is_ycc else _as_it_is, stored.bits)


def render_palette(ds: Dataset, indices: NDArray[Any]) -> tuple[GrayImage, float]:
    """Return luma and mean chroma of palette colours (PS3.3 C.7.6.3.1.5).

    UnreadableImageError if the palette is absent or malformed.
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
    return _to_gray(indices, lambda strip: colours[strip], bits)


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


_STRIP_ROWS = 16  # a multiple of the stride below
_CHROMA_STRIDE = 4
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601-2, as Pillow's


def _to_gray(
    values: NDArray[Any], to_rgb: Callable[[NDArray[Any]], NDArray[Any]], bits: int | None = None
) -> tuple[GrayImage, float]:
    gray = _room_for(values)
    spread, count, scale = 0, 0, 1.0
    for top in range(0, len(gray), _STRIP_ROWS):
        strip = to_rgb(values[top : top + _STRIP_ROWS])
        seen = strip[::_CHROMA_STRIDE, ::_CHROMA_STRIDE].astype(np.int32)
        spreads = seen.max(axis=2) - seen.min(axis=2)
        spread, count = spread + int(spreads.sum()), count + spreads.size
        scale = 255.0 / (2.0 ** (bits or 8 * strip.itemsize) - 1.0)
        luma = strip.astype(np.float32) @ _LUMA
        luma *= scale
        luma += 0.5
        gray[top : top + _STRIP_ROWS] = np.clip(luma, 0.0, 255.0)
    return gray, spread / count * scale


def _room_for(values: NDArray[Any]) -> GrayImage:
    height, width = values.shape[:2]
    flags = values.flags
    if values.dtype == np.uint8 and values.ndim == 3 and flags.writeable and flags.c_contiguous:
        return values.reshape(-1)[: height * width].reshape(height, width)
    return np.empty((height, width), dtype=np.uint8)
