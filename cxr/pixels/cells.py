"""Pixels as their cells hold them, looked up and measured without being unpacked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.pixels.image import GrayImage

ROWS_AT_ONCE = 64  # what is looked up stays in the cache


@dataclass(frozen=True)
class Cells:
    """The pixels as they came, with what their cells stand for.

    Attributes:
        pixels: Shape (H, W), uint8 or uint16.
        places: Place of each possible cell in the order of stored values, shape (256 or 65536,).
    """

    pixels: NDArray[Any]
    places: NDArray[np.int32]

    def look_up(self, table: GrayImage) -> GrayImage:
        """Give the grey level of each pixel by the table of those of stored values."""
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
        """Give the lowest and highest value that occurs; padding counts if there is nothing else.

        Args:
            values: One for each stored value.
            padding: Which of them are padding.
        """
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
