"""Values of DICOM attributes, read from their bytes.

pydicom raises in many ways for malformed ones; here an odd value can be ignored.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_description
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset

from cxr.errors import UnreadableImageError

BLANKS = " \0\t\r\n"  # insignificant around most values (PS3.5 6.2), padding, and what is met

DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
"""Value representation DS, PS3.5 table 6.2-1. ``float`` would take underscores and ``nan``."""

BINARY = ("US", "SS", "UL", "SL", "UN", None)  # None: implicit, pydicom looks it up


class MalformedValueError(ValueError):
    """A value is malformed."""


def name_of(keyword: str) -> str:
    """Return an attribute's name in the standard."""
    return dictionary_description(keyword)


def is_absent(ds: Dataset, keyword: str) -> bool:
    """Return whether an attribute is absent or empty."""
    element = ds.get_item(keyword)
    return element is None or element.value is None or element.value in (b"", "")


def text_of(ds: Dataset, keyword: str) -> str:
    """Return a value as stripped text, "" if absent.

    Several values stay joined by a backslash. Bytes outside ASCII become ``U+FFFD``.
    """
    element = ds.get_item(keyword)
    if element is None or element.value is None:
        return ""
    if isinstance(element.value, bytes):
        return element.value.decode("ascii", "replace").strip(BLANKS)
    values = element.value
    if isinstance(values, str) or not isinstance(values, Sequence):
        values = [values]
    return "\\".join(str(value) for value in values).strip(BLANKS)


def decimal_of(ds: Dataset, keyword: str) -> float | None:
    """Return the first number of a DS attribute; a decimal comma is read as a point."""
    stored = text_of(ds, keyword)
    return _decimal(stored.partition("\\")[0].strip(BLANKS)) if stored else None


def _decimal(text: str) -> float:
    if text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    if not DECIMAL.fullmatch(text) or not math.isfinite(number := float(text)):
        raise MalformedValueError
    return number


def integer_of(ds: Dataset, keyword: str, default: int | None = None) -> int:
    """Return a whole number; UnreadableImageError if absent or not one."""
    if is_absent(ds, keyword):
        if default is None:
            raise UnreadableImageError(f"The DICOM attribute {name_of(keyword)} is absent.")
        return default
    try:
        element = ds.get_item(keyword)
        if isinstance(element, RawDataElement) and element.VR in BINARY:
            element = ds[keyword]
        value = element.value
        return int(value.decode("ascii").strip(BLANKS) if isinstance(value, bytes) else value)
    except Exception:  # whatever a converter makes of what is no number
        raise UnreadableImageError(
            f"The DICOM attribute {name_of(keyword)} is not a single whole number."
        ) from None


def words_of(ds: Dataset, keyword: str) -> NDArray[np.uint16]:
    """Return 16-bit words (n,); MalformedValueError if it holds something else."""
    element = ds.get_item(keyword)
    value = None if element is None else element.value
    if value is None:
        return np.zeros(0, dtype=np.uint16)
    if isinstance(value, bytes):
        padded = value + b"\0" * (len(value) % 2)
        order = "<u2" if _is_little_endian(ds, element) else ">u2"
        return np.frombuffer(padded, dtype=order).astype(np.uint16)
    try:
        numbers = np.atleast_1d(np.asarray(value, dtype=np.int64))
    except (TypeError, ValueError, OverflowError):
        raise MalformedValueError from None
    if numbers.ndim != 1 or (numbers >= 1 << 16).any() or (numbers < -(1 << 15)).any():
        raise MalformedValueError
    return (numbers & 0xFFFF).astype(np.uint16)


def _is_little_endian(ds: Dataset, element: RawDataElement | DataElement) -> bool:
    if element.VR == "OB":  # bytes, which no byte order swaps
        return True
    if isinstance(element, RawDataElement):
        return element.is_little_endian
    return ds.original_encoding[1] is not False  # a dataset made in memory has none
