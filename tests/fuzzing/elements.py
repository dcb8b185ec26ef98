"""DICOM objects that declare far more than they are worth reading, through both readers."""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from benchmarks.siege.made import dicom
from cxr.errors import CxrError
from cxr.images.decoding import DecodeOptions, decode_image
from service.gateway.header import read_header_of
from tests.fuzzing.families import MIB, Family, about

OPTIONS = DecodeOptions(max_pixels=4_000_000)
MOST_BYTES = 24 * MIB  # of a data set before it is deflated
DEEPEST = 200_000
TEXTS = (b"", b"1", b"A" * 64, b"1\\2", b"\\" * 30)
REPRESENTATIONS = ("LO", "DS", "IS", "UI", "UN", "OB", "UT", "PN")


def make_object(rng: np.random.Generator) -> bytes:
    """Make a radiograph with one to three bombs in front of the patient, deflated or not."""
    deflated = bool(rng.random() < 0.7)
    kinds = [BOMBS[int(rng.integers(len(BOMBS)))] for _ in range(int(rng.integers(1, 4)))]
    pieces = [kind(rng) for kind in kinds]
    return dicom.radiograph(
        extra=pieces, syntax=dicom.DEFLATED if deflated else dicom.EXPLICIT, effort=1
    )


def read_object(data: bytes) -> bool:
    """Read it as the service and as the gateway does."""
    read = 0
    for reader in (lambda: decode_image(data, OPTIONS), lambda: read_header_of(data)):
        try:
            reader()
            read += 1
        except CxrError:
            continue
    return read == 2


def _many(one: bytes, rng: np.random.Generator) -> bytes:
    return one * about(rng, 1, max(1, MOST_BYTES // len(one)))


def _element(rng: np.random.Generator, number: int) -> bytes:
    vr = REPRESENTATIONS[int(rng.integers(len(REPRESENTATIONS)))]
    return dicom.element(number, vr, TEXTS[int(rng.integers(len(TEXTS)))])


def _items(rng: np.random.Generator) -> bytes:
    """A sequence of items that hold nothing, or one element."""
    content = b"" if rng.random() < 0.5 else _element(rng, 0x00081150)
    one = dicom.item(len(content)) + content
    if rng.random() < 0.3:
        one = dicom.item(dicom.UNDEFINED) + content + dicom.ITEM_DELIMITER
    items = _many(one, rng)
    if rng.random() < 0.5:
        return dicom.open_sequence(0x00081140) + items + dicom.SEQUENCE_DELIMITER
    head = dicom.tag(0x00081140) + b"SQ\0\0" + struct.pack("<I", len(items))
    return head + items


def _nested(rng: np.random.Generator) -> bytes:
    """Sequences in one another, closed or not."""
    depth = about(rng, 1, DEEPEST)
    one = dicom.open_sequence(0x00081140) + dicom.item(dicom.UNDEFINED)
    closed = (dicom.ITEM_DELIMITER + dicom.SEQUENCE_DELIMITER) * depth
    return one * depth + (closed if rng.random() < 0.7 else b"")


def _repeated(rng: np.random.Generator) -> bytes:
    """One element again and again."""
    return _many(_element(rng, 0x0008103E), rng)


def _distinct(rng: np.random.Generator) -> bytes:
    """Elements with tags of their own, in private groups."""
    return b"".join(dicom.numbered(about(rng, 1, MOST_BYTES // 8)))


def _values(rng: np.random.Generator) -> bytes:
    """An element of very many values, of unknown representation so that it may be long."""
    number = (0x00281050, 0x00080008, 0x00100010)[int(rng.integers(3))]
    return dicom.element(number, "UN", b"\\".join([b"1"] * about(rng, 1, MOST_BYTES // 2)))


def _long(rng: np.random.Generator) -> bytes:
    """An element that declares more than there is."""
    head = dicom.tag(0x00091010) + b"OB\0\0" + struct.pack("<I", int(rng.integers(1 << 31)))
    return head + bytes(about(rng, 1, MIB))


BOMBS: tuple[Callable[[np.random.Generator], bytes], ...] = (
    _items,
    _nested,
    _repeated,
    _distinct,
    _values,
    _long,
)
ELEMENTS = Family("elements", make_object, read_object, cpu_s=0.4, memory_bytes=64 * MIB)
"""Twice the CPU that is promised of one reader, for two of them."""
