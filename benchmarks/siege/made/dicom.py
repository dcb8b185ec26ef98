"""DICOM objects that declare far more than they are worth reading (PS3.5, PS3.10).

Written byte by byte: a library that writes them would have to hold what they expand to, and would
share the mistakes of the one that reads them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import numpy as np

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
JPEG_PROGRESSIVE = "1.2.840.10008.1.2.4.55"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"

DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"
ROOT = "1.2.826.0.1.3680043.10.1450"
UNDEFINED = 0xFFFFFFFF
LONG = frozenset({"OB", "OW", "SQ", "UN", "UT"})
"""Value representations with a length of 32 bits (PS3.5, 7.1.2)."""

REFERENCED_IMAGE_SEQUENCE = 0x00081140
SERIES_DESCRIPTION = 0x0008103E
WINDOW_CENTER, WINDOW_WIDTH = 0x00281050, 0x00281051
PIXEL_DATA = 0x7FE00010
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

ROWS = COLUMNS = 256
ELEMENTS_OF_A_GROUP = 0xF000
FIRST_PRIVATE = 0x0009
PIECE = 1 << 20


def tag(number: int) -> bytes:
    """Give a tag in little endian."""
    return struct.pack("<HH", number >> 16, number & 0xFFFF)


def element(number: int, vr: str, value: bytes, *, implicit: bool = False) -> bytes:
    """Give one data element.

    Args:
        number: Its tag.
        vr: Its value representation.
        value: Padded here to an even length.
        implicit: Leave the representation out, as Implicit VR Little Endian does.
    """
    value += (b" " if vr not in LONG | {"UI", "US"} else b"\0") * (len(value) % 2)
    if implicit:
        return tag(number) + struct.pack("<I", len(value)) + value
    if vr in LONG:
        return tag(number) + vr.encode() + b"\0\0" + struct.pack("<I", len(value)) + value
    return tag(number) + vr.encode() + struct.pack("<H", len(value)) + value


def open_sequence(number: int) -> bytes:
    """Give the head of a sequence of undefined length."""
    return tag(number) + b"SQ\0\0" + struct.pack("<I", UNDEFINED)


def item(length: int = 0) -> bytes:
    """Give the head of an item."""
    return tag(ITEM) + struct.pack("<I", length)


SEQUENCE_DELIMITER = tag(SEQUENCE_END) + bytes(4)
ITEM_DELIMITER = tag(ITEM_END) + bytes(4)


def part10(
    data_set: Iterable[bytes],
    syntax: str = EXPLICIT,
    *,
    instance: str = f"{ROOT}.1",
    effort: int = 9,
) -> bytes:
    """Give a Part 10 file (PS3.10, 7.1).

    Args:
        data_set: Its pieces, not yet deflated.
        syntax: Transfer Syntax UID.
        instance: SOP Instance UID.
        effort: Of deflating, 1 to 9.
    """
    meta = b"".join(
        (
            element(0x00020001, "OB", b"\0\1"),
            element(0x00020002, "UI", DIGITAL_XRAY.encode()),
            element(0x00020003, "UI", instance.encode()),
            element(0x00020010, "UI", syntax.encode()),
            element(0x00020012, "UI", f"{ROOT}.9".encode()),
        )
    )
    head = bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta
    if syntax != DEFLATED:
        return head + b"".join(data_set)
    packer = zlib.compressobj(effort, zlib.DEFLATED, -zlib.MAX_WBITS)
    return head + b"".join([*map(packer.compress, data_set), packer.flush()])


def radiograph(
    *,
    extra: Iterable[bytes] = (),
    syntax: str = EXPLICIT,
    instance: str = f"{ROOT}.1",
    study: str = f"{ROOT}.2",
    rows: int = ROWS,
    columns: int = COLUMNS,
    bits: int = 8,
    pixel_data: bytes | None = None,
    display: bytes = b"",
    level: int = 0,
    effort: int = 9,
) -> bytes:
    """Give a small chest radiograph, sound but for what is added.

    Args:
        extra: Pieces put into group 0008, behind the UIDs and before the description.
        syntax: Transfer Syntax UID.
        instance: SOP Instance UID.
        study: Study Instance UID.
        rows: Height in pixels.
        columns: Width in pixels.
        bits: Allocated and stored.
        pixel_data: The whole element; uncompressed pixels if None.
        display: Elements put into group 0028 behind Pixel Representation.
        level: Added to each pixel, so that objects differ.
        effort: Of deflating, 1 to 9.
    """
    implicit = syntax == IMPLICIT

    def e(number: int, vr: str, value: str | int) -> bytes:
        coded = struct.pack("<H", value) if isinstance(value, int) else value.encode()
        return element(number, vr, coded, implicit=implicit)

    identity = (
        e(0x00080016, "UI", DIGITAL_XRAY)
        + e(0x00080018, "UI", instance)
        + e(0x00080060, "CS", "DX")
        + e(0x00080070, "LO", "SIEGE")
    )
    patient = (
        e(0x00100010, "PN", "SIEGE")
        + e(0x00100020, "LO", "SIEGE")
        + e(0x00180015, "CS", "CHEST")
        + e(0x00185101, "CS", "PA")
        + e(0x0020000D, "UI", study)
        + e(0x0020000E, "UI", f"{study}.1")
    )
    image = (
        e(0x00280002, "US", 1)
        + e(0x00280004, "CS", "MONOCHROME2")
        + e(0x00280010, "US", rows)
        + e(0x00280011, "US", columns)
        + e(0x00280100, "US", bits)
        + e(0x00280101, "US", bits)
        + e(0x00280102, "US", bits - 1)
        + e(0x00280103, "US", 0)
    )
    if pixel_data is None:
        pixel_data = element(PIXEL_DATA, "OW", pixels(rows, columns, level), implicit=implicit)
    pieces = (identity, *extra, patient, image, display, pixel_data)
    return part10(pieces, syntax, instance=instance, effort=effort)


def pixels(rows: int, columns: int, level: int = 0) -> bytes:
    """Give 8-bit pixels: a bright body with two dark lungs."""
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    x, y = x / columns - 0.5, y / rows - 0.5
    body = 40 + 150 * (x**2 / 0.2 + y**2 / 0.3 < 1)
    for side in (-0.2, 0.2):
        body -= 110 * ((x - side) ** 2 / 0.017 + (y + 0.05) ** 2 / 0.11 < 1)
    return bytes(np.clip(body + 10 * np.sin(90 * y) + level, 0, 255).astype(np.uint8).tobytes())


def encapsulated(*fragments: bytes) -> bytes:
    """Give Pixel Data as fragments behind an empty offset table (PS3.5, A.4)."""
    head = tag(PIXEL_DATA) + b"OB\0\0" + struct.pack("<I", UNDEFINED) + item()
    parts = [item(len(one) + len(one) % 2) + one + b"\0" * (len(one) % 2) for one in fragments]
    return b"".join((head, *parts, SEQUENCE_DELIMITER))


def empty_items(count: int, syntax: str = DEFLATED) -> bytes:
    """Give an object with a sequence of items that hold nothing."""
    return radiograph(
        extra=(
            open_sequence(REFERENCED_IMAGE_SEQUENCE),
            *_pieces(item(), count),
            SEQUENCE_DELIMITER,
        ),
        syntax=syntax,
    )


def plain_elements(count: int, syntax: str = DEFLATED) -> bytes:
    """Give an object with so many empty elements, each with a tag of its own."""
    # Counters hardly deflate: more effort takes a minute and gains nothing.
    return radiograph(extra=numbered(count), syntax=syntax, effort=1)


def repeated_element(count: int, syntax: str = DEFLATED) -> bytes:
    """Give an object with one empty element again and again."""
    return radiograph(
        extra=_pieces(element(SERIES_DESCRIPTION, "LO", b""), count),
        syntax=syntax,
    )


def nested_sequences(depth: int, syntax: str = DEFLATED) -> bytes:
    """Give an object with a sequence in an item of a sequence, and so on."""
    one = open_sequence(REFERENCED_IMAGE_SEQUENCE) + item(UNDEFINED)
    end = ITEM_DELIMITER + SEQUENCE_DELIMITER
    return radiograph(extra=(*_pieces(one, depth), *_pieces(end, depth)), syntax=syntax)


def window_values(count: int) -> bytes:
    """Give an object whose window has so many centres and widths."""
    values = b"\\".join([b"1"] * count)
    return radiograph(
        syntax=IMPLICIT,
        display=b"".join(
            element(number, "DS", values, implicit=True) for number in (WINDOW_CENTER, WINDOW_WIDTH)
        ),
    )


def long_rle(segment_bytes: int, side: int = 512) -> bytes:
    """Give an object with one RLE segment that expands to 64 times its size (PS3.5, G.3)."""
    runs = b"\x81\x00" * (segment_bytes // 2)  # 128 zeros for each two bytes
    head = struct.pack("<16I", 1, 64, *([0] * 14))
    return radiograph(syntax=RLE, rows=side, columns=side, pixel_data=encapsulated(head + runs))


def empty_fragments(count: int) -> bytes:
    """Give an object whose pixels are fragments that hold nothing."""
    head = tag(PIXEL_DATA) + b"OB\0\0" + struct.pack("<I", UNDEFINED)
    return radiograph(
        syntax=JPEG_BASELINE,
        pixel_data=b"".join((head, *_pieces(item(), count), SEQUENCE_DELIMITER)),
    )


def in_dicom(jpeg: bytes, side: int) -> bytes:
    """Give an object around a progressive JPEG."""
    return radiograph(
        syntax=JPEG_PROGRESSIVE, rows=side, columns=side, pixel_data=encapsulated(jpeg)
    )


def _pieces(one: bytes, count: int) -> list[bytes]:
    """Give ``count`` times ``one`` in few pieces that share their memory."""
    at_once = max(1, PIECE // len(one))
    whole, rest = divmod(count, at_once)
    return [one * at_once] * whole + [one * rest] * bool(rest)


def numbered(count: int) -> Iterable[bytes]:
    """Give empty LO elements of odd groups with ascending tags, one piece a group."""
    kind = np.dtype([("group", "<u2"), ("element", "<u2"), ("vr", "S2"), ("length", "<u2")])
    group = FIRST_PRIVATE
    while count > 0:
        some = np.zeros(min(count, ELEMENTS_OF_A_GROUP), kind)
        some["group"], some["vr"] = group, b"LO"
        some["element"] = np.arange(0x1000, 0x1000 + len(some))
        yield some.tobytes()
        count -= len(some)
        group += 2
