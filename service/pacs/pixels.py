"""What tells images of one SOP Instance UID apart: a digest of their pixels.

It is of the pixels as they are encoded, without what a hop writes anew: file meta, explicit or
implicit value representations, byte order, deflation, the offset table and the division into
fragments (PS3.5, A.4). A hop that encodes the pixels themselves anew, losslessly too, makes
another digest: to see that they are the same, both would have to be decoded, for up to two seconds.
"""

from __future__ import annotations

import hashlib
import io

from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.filereader import read_partial
from pydicom.tag import Tag

PIXEL_DATA = 0x7FE00010
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
UNDEFINED = 0xFFFFFFFF


def digest_pixels(data: bytes) -> str:
    """Give the SHA-256 of an image's pixels in hexadecimal digits. Any thread.

    Args:
        data: The whole Part 10 file. One whose pixels cannot be found counts as a whole.
    """
    try:
        ds = read_partial(
            io.BytesIO(data),
            stop_when=lambda tag, vr, length: tag > PIXEL_DATA,
            specific_tags=[PIXEL_DATA, *map(Tag, DESCRIPTION)],
        )
        return _digest(ds)
    except Exception:  # of whatever it is instead
        return hashlib.sha256(data).hexdigest()


def _digest(ds: FileDataset) -> str:
    element = ds.get_item(PIXEL_DATA)
    if not isinstance(element, RawDataElement) or element.value is None:
        raise ValueError("no pixels")
    value = memoryview(element.value)
    said = [str(ds.get(keyword, "")).strip() for keyword in DESCRIPTION]
    is_native = element.length != UNDEFINED
    digest = hashlib.sha256("\0".join([*said, "native" if is_native else "frames"]).encode())
    if not is_native:
        for fragment in _fragments(value):
            digest.update(fragment)
    elif element.is_little_endian or element.VR != "OW":
        digest.update(_without_padding(value, ds))
    else:
        words = bytearray(value)
        words[0::2], words[1::2] = words[1::2], words[0::2]
        digest.update(_without_padding(memoryview(words), ds))
    return digest.hexdigest()


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
