"""Segmented palettes of DICOM (PS3.3 C.7.9.2): lookup tables as discrete and linear pieces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxr.dicom.lookup_tables import MAX_ENTRIES, LookupTable, bytes_of
from cxr.dicom.values import MalformedValueError, words_of

DISCRETE, LINEAR, INDIRECT = 0, 1, 2


def read_segmented_table(ds: Dataset, descriptor: str, data: str) -> LookupTable:
    """Read a segmented palette table.

    Args:
        ds: The dataset of the palette.
        descriptor: Keyword of its Palette Color Lookup Table Descriptor.
        data: Keyword of its Segmented Palette Color Lookup Table Data.

    Raises:
        MalformedValueError: The descriptor is none, or the segments do not make its entries.
    """
    described, stored = words_of(ds, descriptor), words_of(ds, data)
    if len(described) != 3:
        raise MalformedValueError
    count = int(described[0]) or MAX_ENTRIES
    units = bytes_of(stored) if described[2] <= 8 else stored
    entries: list[int] = []
    _expand(units, 0, len(units), entries, 2 if described[2] > 8 else 1)
    if len(entries) < count:
        raise MalformedValueError
    return LookupTable(int(described[1]), np.array(entries[:count], dtype=np.uint16))


def _expand(
    units: NDArray[np.uint16],
    position: int,
    segments: int,
    entries: list[int],
    unit_bytes: int,
    *,
    may_point: bool = True,
) -> None:
    """Append the entries of some segments, in order."""
    while segments and position + 1 < len(units) and len(entries) < MAX_ENTRIES:
        opcode, length = int(units[position]), int(units[position + 1])
        position += 2
        if opcode == DISCRETE:
            entries.extend(int(value) for value in _exactly(units, position, length))
            position += length
        elif opcode == LINEAR and entries:
            (end,) = _exactly(units, position, 1)
            steps = np.linspace(entries[-1], int(end), length + 1)[1:]
            entries.extend(int(value) for value in np.rint(steps))
            position += 1
        elif opcode == INDIRECT and may_point:
            offset = _exactly(units, position, 4 // unit_bytes)  # in bytes, the low unit first
            offset_bytes = sum(int(unit) << 8 * unit_bytes * i for i, unit in enumerate(offset))
            target = offset_bytes // unit_bytes
            _expand(units, target, length, entries, unit_bytes, may_point=False)
            position += len(offset)
        else:
            raise MalformedValueError
        segments -= 1


def _exactly(units: NDArray[np.uint16], position: int, count: int) -> NDArray[np.uint16]:
    found = units[position : position + count]
    if len(found) != count:
        raise MalformedValueError
    return found
