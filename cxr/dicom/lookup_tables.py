"""Lookup tables of DICOM (PS3.3 C.11.1.1, C.11.2.1.1, C.7.6.3.1.5), by their data.

Descriptors are often wrong: they declare 16 bits for entries of 12, entries of 8 bits that are
stored in words, one entry less than there is. So the number of entries is the descriptor's, and
everything else is told by the data: how an entry is stored, and how bright the brightest is.
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
    """A table that maps whole numbers to entries.

    Attributes:
        first: Number that the first entry belongs to, as it is stored: without a sign.
        entries: Shape (n,), uint16. Smaller numbers get the first entry, larger the last.
    """

    first: int
    entries: NDArray[np.uint16]

    def look_up(self, numbers: NDArray[np.int64]) -> NDArray[np.uint16]:
        """Return the entry of each number.

        The sign of ``first`` depends on attributes that are often wrong or, with implicit VR,
        cannot be told: it is the one with which the table covers more of the numbers.
        """
        last = len(self.entries) - 1
        low, high = int(numbers.min()), int(numbers.max())
        starts = (self.first, self.first - (1 << 16)) if self.first >= 1 << 15 else (self.first,)
        first = max(starts, key=lambda start: min(start + last, high) - max(start, low))
        return self.entries[np.clip(numbers - first, 0, last)]

    @property
    def full_scale(self) -> int:
        """The value that is white: the highest of as many bits as the entries use."""
        return full_scale_of(int(self.entries.max()))


def full_scale_of(highest: int) -> int:
    """Return the highest value of as many bits as some values use, 255 at least.

    Args:
        highest: Of the values. A power of two is one too many for the bits below it, and is
            taken for their white.
    """
    return (1 << max(FEWEST_BITS, (highest - 1).bit_length())) - 1


def read_table(
    ds: Dataset, descriptor: str = "LUTDescriptor", data: str = "LUTData"
) -> LookupTable:
    """Read a lookup table in any form that is met.

    Entries are words, or bytes if there are as many bytes as entries.

    Args:
        ds: Item of a LUT sequence, or the dataset of a palette.
        descriptor: Keyword of its LUT Descriptor.
        data: Keyword of its LUT Data.

    Raises:
        MalformedValueError: The descriptor is none, or there are fewer entries than it declares.
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
    """Return two entries of each word, the low byte first (PS3.5 8.1.1)."""
    return np.stack([words & 0xFF, words >> 8], axis=1).ravel()
