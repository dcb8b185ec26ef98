"""Bounds on what a DICOM file may hold beside its pixels."""

from __future__ import annotations

from typing import NoReturn

from pydicom._dicom_dict import DicomDictionary

from cxr.errors import ImageTooLargeError

MAX_ELEMENTS = 50_000  # radiographs have 50 to 500; some for each of as many items
MAX_ITEMS = 10_000  # of sequences, and fragments: a study's instances may be listed
MAX_DEPTH = 32  # structured reports nest about ten deep
MAX_TEXTS = 4096  # values of an element of text; a file's windows are a handful
MAX_TEXT_BYTES = 1 << 20
MAX_NUMBERS = 1 << 17  # a lookup table of 16 bits has half as many
MAX_HEADER_BYTES = 32 << 20  # everything before the pixel data: icons, overlays, private blocks

_NUMBER_BYTES = {
    **dict.fromkeys(("US", "SS", "US or SS"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "AT"), 4),
    **dict.fromkeys(("FD", "SV", "UV"), 8),
}
_TEXTS = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI"}
    | {"UR", "UT"}
)


def refuse(what: str) -> NoReturn:
    """Raise ImageTooLargeError."""
    raise ImageTooLargeError(
        f"The DICOM file holds {what}, which exceeds the limit. Send the image without "
        "unrelated content."
    )


def verify_header_size(size_bytes: int) -> None:
    """Bound the bytes before the pixel data."""
    if size_bytes > MAX_HEADER_BYTES:
        refuse(f"more than {MAX_HEADER_BYTES >> 20} MiB before its pixel data")


def verify_length(tag: int, vr: bytes | None, length: int) -> bool:
    """Bound an element's length; return whether its values remain to be counted."""
    if tag >> 16 & 1:
        return False
    if vr is None or vr == b"UN":  # then the dictionary says what it is
        kind = DicomDictionary[tag][0] if tag in DicomDictionary else ""
    else:
        kind = vr.decode("latin-1")
    if kind in _NUMBER_BYTES and length // _NUMBER_BYTES[kind] > MAX_NUMBERS:
        refuse(f"an element of more than {MAX_NUMBERS} numbers")
    if kind in _TEXTS and length > MAX_TEXT_BYTES:
        refuse(f"a text of more than {MAX_TEXT_BYTES >> 20} MiB")
    return kind in _TEXTS and length > MAX_TEXTS


def verify_values(value: bytes | bytearray) -> None:
    """Bound the values of a text."""
    if value.count(b"\\") >= MAX_TEXTS:
        refuse(f"an element of more than {MAX_TEXTS} values")
