"""A pixel digest that distinguishes images sharing a SOP Instance UID.

It omits what a hop may rewrite: VR encoding, byte order, deflation, offset table and fragments
(PS3.5, A.4). Re-encoded pixels differ: comparing them means decoding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cxr.dicom.part10 import DicomFile, cells_bytes, fragments_of

DESCRIPTION = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
"""Attributes that define the picture (PS3.3, C.7.6.3)."""

MOST_BYTES = 128_000_000
"""Most uncompressed pixels, 64 million of two bytes: a deflated kilobyte may hold a megabyte."""


def digest_pixels(data: bytes) -> str:
    """Return the SHA-256 of the pixels; without any, of the whole file. Any thread."""
    try:
        return _digest(DicomFile(data))
    except Exception:  # it may be anything
        return hashlib.sha256(data).hexdigest()


def _digest(file: DicomFile) -> str:
    ds = file.header(DESCRIPTION)
    said = [str(ds.get(keyword, "")).strip() for keyword in DESCRIPTION]
    kind = "frames" if file.is_encapsulated else "native"
    digest = hashlib.sha256("\0".join([*said, kind]).encode())
    for piece in _pieces(file, min(cells_bytes(ds), MOST_BYTES)):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(file: DicomFile, used: int) -> Iterable[memoryview | bytes | bytearray]:
    if file.meta.is_deflated:
        return file.inflated_pixels(used)
    pixels = file.pixel_data(used + used % 2)
    if file.is_encapsulated:
        return fragments_of(pixels)
    if pixels.order == "<" or not pixels.is_words:
        return [pixels.value[:used]]
    words = bytearray(pixels.value)
    words[0::2], words[1::2] = words[1::2], words[0::2]
    return [memoryview(words)[:used]]
