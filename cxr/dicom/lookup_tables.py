"""Lookup tables of DICOM (PS3.3 C.11.1.1, C.11.2.1.1, C.7.6.3.1.5, C.7.9.2), read by their data.

Descriptors are often wrong about bits, words and even the number of entries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxr.dicom.values import MalformedValueError, words_of

MAX_ENTRIES = 1 << 16  # declared as 0
FEWEST_BITS = 8  # of a full scale (PS3.3 C.11.2.1.1)
EXTRA_BYTES = 2  # behind the entries: padding, or an entry that was not counted


@dataclass(frozen=True)
class LookupTable:
    """Entries (n,), uint16, and the number of the first; the ends stand for what is beyond."""

    first: int
    entries: NDArray[np.uint16]

    def look_up(self, numbers: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Return the entry of each number.

        With implicit VR the sign of ``first`` is unknown: the right one covers more numbers.
        """
        last = len(self.entries) - 1
        low, high = int(numbers.min()), int(numbers.max())
        starts = (self.first, self.first - (1 << 16)) if self.first >= 1 << 15 else (self.first,)
        first = max(starts, key=lambda start: min(start + last, high) - max(start, low))
        return self.entries[np.clip(numbers - first, 0, last)]

    @property
    def full_scale(self) -> int:
        """The value that is white."""
        return full_scale_of(int(self.entries.max()))


def full_scale_of(highest: int) -> int:
    """Return the white of a highest value, at least 255; 256 counts as 8 bits."""
    return (1 << max(FEWEST_BITS, (highest - 1).bit_length())) - 1


def read_table(
    ds: Dataset, descriptor: str = "LUTDescriptor", data: str = "LUTData"
) -> LookupTable:
    """Read a lookup table of words, or of bytes if there are as many bytes as entries.

    MalformedValueError if the descriptor is malformed or declares too many entries.
    """
    described, stored = words_of(ds, descriptor), words_of(ds, data)
    if len(described) != 3:
        raise MalformedValueError
    count = int(described[0]) or MAX_ENTRIES
    if len(stored) >= count - 1 and len(stored):  # the last entry also stands for what follows it
        entries = stored[:count]
    elif count <= 2 * len(stored) <= count + EXTRA_BYTES:
        entries = bytes_of(stored)[:count]
    else:
        raise MalformedValueError
    return LookupTable(int(described[1]), entries)


def bytes_of(words: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Split words into bytes, the low one first (PS3.5 8.1.1)."""
    return np.stack([words & 0xFF, words >> 8], axis=1).ravel()


DISCRETE, LINEAR, INDIRECT = 0, 1, 2


def read_segmented_table(ds: Dataset, descriptor: str, data: str) -> LookupTable:
    """Read a segmented palette (PS3.3 C.7.9.2); MalformedValueError if malformed."""
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
