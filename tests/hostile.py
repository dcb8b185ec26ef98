"""Small files that cost their reader much: each is made in code, at any size and in any encoding.

Each maker returns the bytes of a whole file. ``DICOM_BOMBS`` names the elements that can be put
into a DICOM file, ``SYNTAXES`` the encodings of them.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

ROOT = "1.2.840.10008.1.2"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT"})
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
EARLY_SEQUENCE, LATE_SEQUENCE = 0x00081140, 0x00400555
"""Before what the gateway files objects under, and behind it."""


@dataclass(frozen=True)
class Encoding:
    """How elements are written (PS3.5, 7.1).

    Attributes:
        uid: Transfer syntax.
        is_implicit: Without value representations.
        order: ``<`` or ``>``.
        is_deflated: The data set is deflated.
    """

    uid: str
    is_implicit: bool = False
    order: str = "<"
    is_deflated: bool = False

    def number(self, value: int) -> bytes:
        """A value of representation US."""
        return struct.pack(f"{self.order}H", value)

    def head(self, tag: int, vr: str, length: int) -> bytes:
        """Tag, representation and length of an element."""
        group, element = tag >> 16, tag & 0xFFFF
        if self.is_implicit or group == 0xFFFE:
            return struct.pack(f"{self.order}HHL", group, element, length)
        if vr in LONG_VRS:
            return struct.pack(f"{self.order}HH2sHL", group, element, vr.encode(), 0, length)
        return struct.pack(f"{self.order}HH2sH", group, element, vr.encode(), length)

    def element(self, tag: int, vr: str, value: bytes = b"") -> bytes:
        """One element with a value of even length."""
        value += (b"\0" if vr in ("UI", "OB", "UN") else b" ") * (len(value) % 2)
        return self.head(tag, vr, len(value)) + value

    def sequence(self, tag: int, items: bytes, vr: str = "SQ", is_defined: bool = False) -> bytes:
        """A sequence of items that are written already."""
        if is_defined:
            return self.head(tag, vr, len(items)) + items
        return self.head(tag, vr, UNDEFINED) + items + self.head(SEQUENCE_END, "", 0)

    def item(self, content: bytes = b"", is_defined: bool = True) -> bytes:
        """One item of a sequence."""
        if is_defined:
            return self.head(ITEM, "", len(content)) + content
        return self.head(ITEM, "", UNDEFINED) + content + self.head(ITEM_END, "", 0)


SYNTAXES = {
    "implicit": Encoding(ROOT, is_implicit=True),
    "explicit": Encoding(f"{ROOT}.1"),
    "big endian": Encoding(f"{ROOT}.2", order=">"),
    "deflated": Encoding(f"{ROOT}.1.99", is_deflated=True),
}
EXPLICIT = SYNTAXES["explicit"]

Bomb = Callable[[Encoding, int], bytes]
"""Elements in an encoding, of which something is there as often as the number says."""


def plain_elements(encoding: Encoding, count: int) -> bytes:
    """Empty private elements, each of another tag."""
    tags = ((0x0011 + 2 * (n >> 15)) << 16 | 0x1000 + (n & 0x7FFF) for n in range(count))
    return b"".join(encoding.element(tag, "LO") for tag in tags)


def repeated_element(encoding: Encoding, count: int) -> bytes:
    """One element again and again."""
    return encoding.element(0x00080050, "SH") * count


def empty_items(encoding: Encoding, count: int) -> bytes:
    """A sequence of undefined length, of empty items."""
    return encoding.sequence(EARLY_SEQUENCE, encoding.item() * count)


def late_empty_items(encoding: Encoding, count: int) -> bytes:
    """The same behind the UIDs."""
    return encoding.sequence(LATE_SEQUENCE, encoding.item() * count)


def empty_items_of_defined_length(encoding: Encoding, count: int) -> bytes:
    """A sequence of defined length that readers parse when it is touched: the VOI LUTs."""
    return encoding.sequence(0x00283010, encoding.item() * count, is_defined=True)


def items_of_unknown_representation(encoding: Encoding, count: int) -> bytes:
    """A sequence written as UN, which is implicit inside (PS3.5, 6.2.2)."""
    inner = Encoding("", is_implicit=True, order=encoding.order)
    return encoding.sequence(0x00091010, inner.item(is_defined=False) * count, vr="UN")


def private_items(encoding: Encoding, count: int) -> bytes:
    """A private sequence, which in implicit encoding only its first item tells."""
    return encoding.sequence(0x00091010, encoding.item(is_defined=False) * count)


def elements_in_one_item(encoding: Encoding, count: int) -> bytes:
    """An item with many elements."""
    content = encoding.element(0x00081150, "UI") * count
    return encoding.sequence(EARLY_SEQUENCE, encoding.item(content, is_defined=False))


def nested_items(encoding: Encoding, depth: int) -> bytes:
    """Items within items."""
    begin = encoding.head(EARLY_SEQUENCE, "SQ", UNDEFINED) + encoding.head(ITEM, "", UNDEFINED)
    end = encoding.head(ITEM_END, "", 0) + encoding.head(SEQUENCE_END, "", 0)
    return begin * depth + end * depth


def window_values(encoding: Encoding, count: int) -> bytes:
    """A window centre of many values, in a representation that may be so long."""
    values = b"\\".join([b"1"] * count)
    return encoding.element(0x00281050, "UC", values) + encoding.element(0x00281051, "UC", values)


def numbers(encoding: Encoding, count: int) -> bytes:
    """A padding value of many numbers, in a representation that may be so long."""
    return encoding.element(0x00280120, "UN", encoding.number(1) * count)


DICOM_BOMBS: dict[str, tuple[Bomb, int]] = {
    "plain elements": (plain_elements, 300_000),
    "repeated element": (repeated_element, 2_000_000),
    "empty items": (empty_items, 2_000_000),
    "empty items behind the UIDs": (late_empty_items, 2_000_000),
    "empty items of defined length": (empty_items_of_defined_length, 2_000_000),
    "items of unknown representation": (items_of_unknown_representation, 1_000_000),
    "private items": (private_items, 1_000_000),
    "elements in one item": (elements_in_one_item, 2_000_000),
    "nested items": (nested_items, 200_000),
    "window values": (window_values, 3_000_000),
    "numbers": (numbers, 3_000_000),
}
"""What each is made of, and how much of it takes a reader without bounds seconds or a gigabyte."""


def file_meta(encoding: Encoding, group_length: int | None = -1) -> bytes:
    """Preamble, prefix and file meta group (PS3.10, 7.1).

    Args:
        encoding: Of what follows.
        group_length: To be written; -1 for the right one, None for none.
    """
    elements = [
        (0x00020001, "OB", b"\0\1"),
        (0x00020002, "UI", DX.encode()),
        (0x00020003, "UI", b"2.25.1"),
        (0x00020010, "UI", encoding.uid.encode()),
        (0x00020012, "UI", b"2.25.2"),
    ]
    group = b"".join(EXPLICIT.element(*one) for one in elements)
    if group_length is None:
        return bytes(128) + b"DICM" + group
    length = struct.pack("<L", len(group) if group_length == -1 else group_length)
    return bytes(128) + b"DICM" + EXPLICIT.element(0x00020000, "UL", length) + group


def dicom_file(
    encoding: Encoding = EXPLICIT,
    extra: bytes = b"",
    *,
    side: int = 64,
    bits: int = 8,
    pixels: bytes | None = None,
    group_length: int | None = -1,
) -> bytes:
    """A sound radiograph of 8 or 16 bits with some more elements before its pixels.

    Args:
        encoding: Of the data set.
        extra: The elements, written already.
        side: Rows and columns.
        bits: Allocated and stored.
        pixels: The whole element of the pixel data, written already; None for a ramp.
        group_length: See :func:`file_meta`.
    """
    element, number = encoding.element, encoding.number
    head = [
        element(0x00080016, "UI", DX.encode()),
        element(0x00080018, "UI", b"2.25.1"),
        element(0x00080060, "CS", b"DX"),
        element(0x00180015, "CS", b"CHEST"),
        element(0x00185101, "CS", b"PA"),
        element(0x0020000D, "UI", b"2.25.3"),
        element(0x0020000E, "UI", b"2.25.4"),
        element(0x00280002, "US", number(1)),
        element(0x00280004, "CS", b"MONOCHROME2"),
        element(0x00280010, "US", number(side)),
        element(0x00280011, "US", number(side)),
        element(0x00280100, "US", number(bits)),
        element(0x00280101, "US", number(bits)),
        element(0x00280102, "US", number(bits - 1)),
        element(0x00280103, "US", number(0)),
    ]
    is_early = extra[:2] in (b"\x08\x00", b"\x00\x08", b"\x09\x00", b"\x00\x09")
    head[2 if is_early else len(head) : 2 if is_early else len(head)] = [extra]
    if pixels is None:
        ramp = np.arange(side * side) % (1 << bits)
        cells = ramp.astype(f"{encoding.order}u{bits // 8}").tobytes()
        pixels = element(0x7FE00010, "OW", cells)
    dataset = b"".join(head) + pixels
    if encoding.is_deflated:
        deflating = zlib.compressobj(6, wbits=-zlib.MAX_WBITS)
        dataset = deflating.compress(dataset) + deflating.flush()
    return file_meta(encoding, group_length) + dataset


def dicom_bomb(name: str, encoding: Encoding = EXPLICIT, count: int | None = None) -> bytes:
    """A sound radiograph with one of ``DICOM_BOMBS`` in it, at its usual size or another."""
    make, usual = DICOM_BOMBS[name]
    return dicom_file(encoding, make(encoding, usual if count is None else count))


def encapsulated(frame_syntax: str, *fragments: bytes, **options: int) -> bytes:
    """A radiograph whose pixel data are these fragments, behind an empty offset table."""
    encoding = Encoding(frame_syntax)
    items = b"".join(encoding.item(one + b"\0" * (len(one) % 2)) for one in (b"", *fragments))
    pixels = encoding.sequence(0x7FE00010, items, vr="OB")
    return dicom_file(encoding, pixels=pixels, **options)


def fragment_bomb(count: int = 2_000_000) -> bytes:
    """A frame in so many empty fragments."""
    encoding = Encoding(f"{ROOT}.4.70")
    pixels = encoding.sequence(0x7FE00010, encoding.item() * (count + 1), vr="OB")
    return dicom_file(encoding, pixels=pixels)


def rle_bomb(body_bytes: int = 20_000_000, side: int = 512) -> bytes:
    """A run-length encoded frame whose one segment decodes to 64 times its length."""
    runs = b"\x81\x00" * (body_bytes // 2)  # 128 times the byte 0 (PS3.5, G.3.1)
    return encapsulated(f"{ROOT}.5", struct.pack("<16L", 1, 64, *[0] * 14) + runs, side=side)


def deflate_bomb(inflated_bytes: int = 400_000_000) -> bytes:
    """Pixel data far longer than rows and columns say, deflated to a thousandth."""
    encoding = SYNTAXES["deflated"]
    return dicom_file(encoding, pixels=encoding.element(0x7FE00010, "OW", bytes(inflated_bytes)))


def progressive_jpeg(side: int = 256, mode: str = "L") -> bytes:
    """A blank progressive JPEG."""
    buffer = io.BytesIO()
    Image.new(mode, (side, side)).save(buffer, "JPEG", progressive=True)
    return buffer.getvalue()


def scan_bomb(scans: int = 20_000, side: int = 256) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    sound = progressive_jpeg(side)
    last = sound.rindex(b"\xff\xda")
    return sound[:last] + sound[last:-2] * scans + sound[-2:]


def segment_bomb(segments: int = 200_000, marker: int = 0xC4, side: int = 256) -> bytes:
    """A JPEG with so many empty segments (DHT, DQT, APP, COM ...) behind its start."""
    sound = progressive_jpeg(side)
    return sound[:2] + struct.pack(">BBH", 0xFF, marker, 2) * segments + sound[2:]


def fill_bomb(count: int = 20_000_000, side: int = 256) -> bytes:
    """A JPEG with so many fill bytes before a marker (ITU-T T.81, B.1.1.2)."""
    sound = progressive_jpeg(side)
    return sound[:2] + b"\xff" * count + sound[2:]
