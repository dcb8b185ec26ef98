"""Cells, against looking at every pixel."""

from __future__ import annotations

import numpy as np
import pytest

from cxr.dicom.grayscale import Cells

ROWS, COLUMNS, SIZE = 130, 7, 4096  # more rows than are looked up at once
PADDING = {
    "none": np.zeros(SIZE, dtype=np.bool_),
    "the lowest": np.arange(SIZE) < 900,
    "in between": np.arange(SIZE) == 2000,
    "all": np.ones(SIZE, dtype=np.bool_),
}
VALUES = {
    "rising": np.arange(SIZE) * 2.0 - 1000,
    "falling": 100 - np.arange(SIZE) * 0.5,
    "up and down": np.abs(np.arange(SIZE) - 2048.0),
    "constant": np.full(SIZE, 3.0),
}
PLACES = {
    "as stored": np.arange(1 << 16) & (SIZE - 1),
    "shifted": np.arange(1 << 16) >> 4,
    "signed": (np.arange(1 << 16) + SIZE // 2) & (SIZE - 1),
}


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("places", PLACES)
def test_range_and_table_are_those_of_every_pixel(places: str, values: str, padding: str) -> None:
    """Whether the ends tell the range or every cell has to be counted."""
    pixels = np.random.default_rng(7).integers(1000, 50_000, (ROWS, COLUMNS)).astype(np.uint16)
    cells = Cells(pixels, PLACES[places].astype(np.int32))
    seen = PLACES[places][pixels].ravel()
    kept = seen[~PADDING[padding][seen]] if padding != "all" else seen
    expected = VALUES[values][kept].min(), VALUES[values][kept].max()
    assert cells.range_of(VALUES[values], PADDING[padding]) == expected
    table = np.random.default_rng(8).integers(0, 256, SIZE).astype(np.uint8)
    assert (cells.look_up(table).ravel() == table[seen]).all()
