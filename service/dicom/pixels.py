"""What tells images of one SOP Instance UID apart: a digest of their pixels.

It is of the pixels as they are encoded, without what a hop writes anew: file meta, explicit or
implicit value representations, byte order, deflation, the offset table and the division into
fragments (PS3.5, A.4). A hop that encodes the pixels themselves anew, losslessly too, makes
another digest: to see that they are the same, both would have to be decoded, for up to two seconds.
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
"""Without which the bytes are no picture (PS3.3, C.7.6.3)."""

MOST_BYTES = 128_000_000
"""Of uncompressed pixels, 64 million of two bytes: a deflated kilobyte may hold a megabyte."""


def digest_pixels(data: bytes) -> str:
    """Give the SHA-256 of an image's pixels in hexadecimal digits. Any thread.

    Args:
        data: The whole Part 10 file. One whose pixels cannot be found counts as a whole.
    """
    try:
        return _digest(DicomFile(data))
    except Exception:  # of whatever it is instead
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
    """Give the encoded pixels, of cells no more than are used."""
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
