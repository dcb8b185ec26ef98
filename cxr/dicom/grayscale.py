"""From stored values to the grey levels a viewer shows, in the order of PS3.4, N.2.

Every possible value is transformed instead of every pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxr.dicom.display import DisplayAttributes, function_of, windowed
from cxr.dicom.pixel_data import StoredValues
from cxr.dicom.values import integer_of
from cxr.pixels.image import Display, GrayImage, Window


def render_gray(
    ds: Dataset, stored: StoredValues, window: Window | None = None
) -> tuple[GrayImage, tuple[str, ...], Display]:
    """Return the grey levels (H, W) a viewer shows, notes for the sender, and what was applied.

    A window replaces the dataset's own VOI, but not its VOI LUT Function.
    """
    bits = integer_of(ds, "BitsStored")
    lowest = -(1 << (bits - 1)) if integer_of(ds, "PixelRepresentation") == 1 else 0
    values = np.arange(lowest, lowest + (1 << bits), dtype=np.int64)
    pixels = _cells_of(ds, stored, lowest, bits)
    attributes = DisplayAttributes(ds)
    table, display = _display_table(attributes, values, pixels, window)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        table = 255 - table
    return pixels.look_up(table), tuple(attributes.notes), display


def _cells_of(ds: Dataset, stored: StoredValues, lowest: int, bits: int) -> Cells:
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
    if function == "LINEAR" and window.width < 1:
        function = "LINEAR_EXACT"
    return replace(window, function=function)


ROWS_AT_ONCE = 64  # what is looked up stays in the cache


@dataclass(frozen=True)
class Cells:
    """Pixels (H, W), uint8 or uint16, looked up and measured without being unpacked.

    ``places`` indexes the stored values by possible cell, shape (256 or 65536,).
    """

    pixels: NDArray[Any]
    places: NDArray[np.int32]

    def look_up(self, table: GrayImage) -> GrayImage:
        """Map pixels by a table over the stored values."""
        by_cell = table[self.places]
        gray = np.empty(self.pixels.shape, dtype=np.uint8)
        for top in range(0, len(gray), ROWS_AT_ONCE):
            rows = slice(top, top + ROWS_AT_ONCE)
            # No cell is out of range; "clip" is the quickest way to have that not looked at.
            np.take(by_cell, self.pixels[rows], out=gray[rows], mode="clip")
        return gray

    def range_of(
        self, values: NDArray[np.float64], padding: NDArray[np.bool_]
    ) -> tuple[float, float]:
        """Return the extreme values that occur; padding counts if there is no other."""
        first, last = int(self.pixels.min()), int(self.pixels.max())
        between = self.places[first : last + 1]
        steps = np.diff(values[between])
        if not padding[between[[0, -1]]].any() and ((steps >= 0).all() or (steps <= 0).all()):
            return _ends(values[between[[0, -1]]])
        occurs = np.zeros(len(values), dtype=np.bool_)
        seen = np.zeros(len(self.places), dtype=np.bool_)
        for top in range(0, len(self.pixels), ROWS_AT_ONCE):  # as an index, a cell takes 8 bytes
            seen[self.pixels[top : top + ROWS_AT_ONCE]] = True
        occurs[self.places[seen]] = True
        kept = occurs & ~padding
        return _ends(values[kept if kept.any() else occurs])


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.min()), float(values.max())
