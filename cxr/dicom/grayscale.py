"""Stored DICOM pixel values to the grey levels a viewer shows.

The order of the transformations is the standard's (PS3.4, N.2): bits above HighBit masked,
modality LUT, VOI LUT, and MONOCHROME1 inverted last. They are evaluated once for every stored
value instead of once for every pixel, which is exact and many times cheaper; the bits of a cell
are sorted out in the same table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxr.dicom.display import DisplayAttributes, function_of, windowed
from cxr.dicom.pixel_data import Stored
from cxr.dicom.values import integer_of
from cxr.pixels.cells import Cells
from cxr.pixels.image import Display, GrayImage, Window


@dataclass(frozen=True)
class Rendering:
    """Grey levels of stored pixel values.

    Attributes:
        pixels: Shape (H, W), uint8, bone bright.
        notes: Sentences for the sender.
        display: How the values became grey levels.
    """

    pixels: GrayImage
    notes: tuple[str, ...]
    display: Display


def render_gray(ds: Dataset, stored: Stored, window: Window | None = None) -> Rendering:
    """Return the grey levels a viewer shows for stored pixel values.

    A malformed attribute of the display is ignored and noted: the pixels are sound without it.

    Args:
        ds: The dataset with its modality, VOI and photometric attributes.
        stored: Its pixel data, monochrome.
        window: Applied instead of the dataset's own VOI; its function is the dataset's.
    """
    bits = integer_of(ds, "BitsStored")
    lowest = -(1 << (bits - 1)) if integer_of(ds, "PixelRepresentation") == 1 else 0
    values = np.arange(lowest, lowest + (1 << bits), dtype=np.int64)
    pixels = _cells_of(ds, stored, lowest, bits)
    attributes = DisplayAttributes(ds)
    table, display = _display_table(attributes, values, pixels, window)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        table = 255 - table
    return Rendering(pixels.look_up(table), tuple(attributes.notes), display)


def _cells_of(ds: Dataset, stored: Stored, lowest: int, bits: int) -> Cells:
    """Tell which stored value each possible cell stands for."""
    cells = stored.values
    if cells.dtype not in (np.uint8, np.uint16):
        cells = cells.astype(np.uint16)  # two's complement, if there is a sign
    codes = np.arange(1 << (8 * cells.itemsize), dtype=np.int32)  # of every cell there can be
    top = (1 << bits) - 1
    high_bit = integer_of(ds, "HighBit")
    if high_bit < stored.bits:  # else the frame holds values and not cells
        codes >>= high_bit + 1 - bits
    if stored.overshoots:
        # A lossy encoder's error may leave the range; what is brighter than white is white.
        if lowest:
            codes = np.where(codes > codes[-1] >> 1, codes - len(codes), codes)
        return Cells(cells, np.clip(codes - lowest, 0, top))
    # Bits above HighBit may hold overlays (PS3.5 8.1.1, retired but met).
    codes &= top
    if lowest:
        codes = np.where(codes > top >> 1, codes - (top + 1), codes)
    return Cells(cells, codes - lowest)


def _display_table(
    attributes: DisplayAttributes, stored: NDArray[np.int64], cells: Cells, chosen: Window | None
) -> tuple[GrayImage, Display]:
    """Map every stored value to a grey level.

    Args:
        attributes: Modality and VOI of the dataset.
        stored: All stored values in order, shape (2**BitsStored,).
        cells: Which of them occur in the image.
        chosen: A window in place of the dataset's VOI.

    Returns:
        Same shape, uint8, before the inversion of MONOCHROME1; and what was applied.
    """
    values = attributes.apply_modality(stored)
    low, high = cells.range_of(values, attributes.is_padding(stored))
    window = None
    if chosen is not None:
        window = _with_function(chosen, function_of(attributes.ds))
        fraction = windowed(values, window)
    elif (lut := attributes.lookup_table("VOILUTSequence")) is not None:
        fraction = lut.look_up(values.astype(np.int64)) / lut.full_scale
    elif (window := attributes.window()) is not None:
        fraction = windowed(values, window)
    else:
        fraction = (values - low) / max(high - low, 1e-9)
    table = np.clip(fraction * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
    return table, Display(window, low, high)


def _with_function(window: Window, function: str) -> Window:
    """Give a chosen window a function, the exact one where LINEAR has no window so narrow."""
    if function == "LINEAR" and window.width < 1:
        function = "LINEAR_EXACT"
    return replace(window, function=function)
