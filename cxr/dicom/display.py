"""The display attributes of a DICOM dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxr.dicom.lookup_tables import LookupTable, read_table
from cxr.dicom.values import (
    MalformedValueError,
    decimal_of,
    integer_of,
    name_of,
    text_of,
    words_of,
)
from cxr.pixels.image import Window

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")

FARTHEST = 1e15
"""Beyond any value of a modality, and still exact as a float and as a whole number."""


class DisplayAttributes:
    """Modality, VOI and padding attributes; malformed ones are ignored and noted once."""

    def __init__(self, ds: Dataset) -> None:
        self.ds = ds
        self.notes: list[str] = []

    def apply_modality(self, stored: NDArray[np.int64]) -> NDArray[np.float64]:
        """Apply modality LUT or rescale (PS3.3 C.11.1)."""
        if (lut := self.lookup_table("ModalityLUTSequence")) is not None:
            return lut.look_up(stored).astype(np.float64)
        slope, intercept = (
            self._rescale("RescaleSlope", 1.0),
            self._rescale("RescaleIntercept", 0.0),
        )
        if slope == 0.0:  # would show nothing of any picture
            self._ignore("RescaleSlope")
            slope = 1.0
        return np.clip(stored * slope + intercept, -FARTHEST, FARTHEST)

    def lookup_table(self, keyword: str) -> LookupTable | None:
        """Return the table of a sequence's first item, if readable."""
        try:
            items = self.ds.get(keyword)
            return read_table(items[0]) if items else None
        except Exception:  # ours, and whatever pydicom makes of a sequence that is none
            self._ignore(keyword)
            return None

    def window(self) -> Window | None:
        """Return the first window (PS3.3 C.11.2.1.2), if readable."""
        centre, width = self._first("WindowCenter"), self._first("WindowWidth")
        if centre is None and width is None:
            return None
        function = function_of(self.ds)
        # The width is at least 1, and above 0 for LINEAR_EXACT and SIGMOID.
        if centre is None or width is None or width <= 0 or (width < 1 and function == "LINEAR"):
            self._ignore("WindowWidth" if centre is not None else "WindowCenter")
            return None
        return Window(centre, width, function)

    def is_padding(self, stored: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which stored values are padding (PS3.3 C.7.5.1.1.2)."""
        ends = [self._stored_value(k) for k in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
        first, last = ends[0], ends[1] if ends[1] is not None else ends[0]
        if first is None or last is None:
            return np.zeros(stored.shape, dtype=np.bool_)
        return (stored >= min(first, last)) & (stored <= max(first, last))

    def _stored_value(self, keyword: str) -> int | None:
        try:
            words = words_of(self.ds, keyword)
        except MalformedValueError:
            self._ignore(keyword)
            return None
        if not len(words):
            return None
        cell_bits, bits = (integer_of(self.ds, k) for k in ("BitsAllocated", "BitsStored"))
        value = int(words[0]) & ((1 << cell_bits) - 1)
        if integer_of(self.ds, "PixelRepresentation") != 1:
            return value
        # Two's complement, of the whole cell or of the bits stored in it.
        width = cell_bits if value >> bits else bits
        return value - (1 << width) if value >> (width - 1) else value

    def _rescale(self, keyword: str, default: float) -> float:
        if keyword not in self.ds:
            return default
        number = self._first(keyword)
        if number is None:
            self._ignore(keyword)
            return default
        return number

    def _first(self, keyword: str) -> float | None:
        try:
            return decimal_of(self.ds, keyword)
        except MalformedValueError:
            self._ignore(keyword)
            return None

    def _ignore(self, keyword: str) -> None:
        note = f"The DICOM attribute {name_of(keyword)} is empty or malformed, and was ignored."
        if note not in self.notes:
            self.notes.append(note)


def function_of(ds: Dataset) -> str:
    """Return the VOI LUT Function, LINEAR for anything unknown (PS3.3 C.11.2.1.3)."""
    stated = text_of(ds, "VOILUTFunction").upper()
    return stated if stated in FUNCTIONS else "LINEAR"


def windowed(values: NDArray[np.float64], window: Window) -> Any:
    """Return fractions of white, not yet clipped (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    centre, width = window.center, window.width
    if window.function == "SIGMOID":
        # Far from the centre of a narrow window the exponential is out of range, the limit right.
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -700.0, 700.0)))
    if window.function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    if width == 1.0:
        return (values > centre - 0.5).astype(np.float64)
    return (values - (centre - 0.5)) / (width - 1.0) + 0.5
