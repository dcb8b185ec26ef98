"""What tells images of one SOP Instance UID apart: a digest of their pixels.

It is of the pixels as they are encoded, without what a hop writes anew: file meta, explicit or
implicit value representations, byte order, deflation, the offset table and the division into
fragments (PS3.5, A.4). A hop that encodes the pixels themselves anew, losslessly too, makes
another digest: to see that they are the same, both would have to be decoded, for up to two seconds.
"""

from __future__ import annotations

import hashlib

from pydicom.dataset import FileDataset

from cxr.dicom_file import DicomFile, PixelData

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

ITEM = b"\xfe\xff\x00\xe0"
MOST_BYTES = 400_000_000  # of a deflated object, whose pixels are not in memory yet


def digest_pixels(data: bytes) -> str:
    """Give the SHA-256 of an image's pixels in hexadecimal digits. Any thread.

    Args:
        data: The whole Part 10 file. One whose pixels cannot be found counts as a whole.
    """
    try:
        file = DicomFile(data)
        return _digest(file.header(DESCRIPTION), file)
    except Exception:  # of whatever it is instead
        return hashlib.sha256(data).hexdigest()


def _digest(ds: FileDataset, file: DicomFile) -> str:
    stop = file.pixels_at
    is_native = stop is None or stop.length is not None
    pixels = file.pixel_data(MOST_BYTES)
    said = [str(ds.get(keyword, "")).strip() for keyword in DESCRIPTION]
    digest = hashlib.sha256("\0".join([*said, "native" if is_native else "frames"]).encode())
    if is_native:
        digest.update(_without_padding(_in_little_endian(pixels), ds))
    else:
        for fragment in _fragments(pixels.value):
            digest.update(fragment)
    return digest.hexdigest()


def _in_little_endian(pixels: PixelData) -> memoryview:
    if pixels.order == "<" or not pixels.is_words:
        return pixels.value
    words = bytearray(pixels.value)
    words[0::2], words[1::2] = words[1::2], words[0::2]
    return memoryview(words)


def _without_padding(value: memoryview, ds: FileDataset) -> memoryview:
    """Leave out the byte that makes an even length: it is of no meaning."""
    used = int(ds.Rows) * int(ds.Columns) * int(ds.SamplesPerPixel) * int(ds.BitsAllocated) // 8
    return value[:used] if len(value) == used + 1 else value


def _fragments(value: memoryview) -> list[memoryview]:
    """Give the contents of all items but the first, the offset table."""
    found, begin = [], 0
    while value[begin : begin + 4] == ITEM:
        end = begin + 8 + int.from_bytes(value[begin + 4 : begin + 8], "little")
        found.append(value[begin + 8 : end])
        begin = end
    return found[1:]
