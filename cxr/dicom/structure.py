"""Count the structure of a DICOM data set before parsing it.

A few kilobytes can hold a million items, each costing the parser some hundred bytes. This takes
pydicom's steps over tags and lengths alone (PS3.5, chapter 7), also where they are odd.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap
from typing import TypeAlias

from pydicom._dicom_dict import DicomDictionary
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

from cxr.dicom.bounds import (
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_ITEMS,
    MAX_TEXTS,
    refuse,
    verify_header_size,
    verify_length,
    verify_values,
)

Bytes: TypeAlias = bytes | bytearray | mmap

ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF

_LONG = frozenset(vr.encode() for vr in EXPLICIT_VR_LENGTH_32)
_SEQUENCES = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
_ANYWHERE = sys.maxsize


class _EndError(Exception):
    pass


@dataclass(frozen=True)
class Stop:
    """The element at which a walk stopped."""

    tag: int
    at: int
    value_at: int
    length: int | None
    vr: bytes | None


class Walk:
    """Walks over one data set, up to the top-level element at which ``stop_when`` says so.

    Raw values of ``wanted`` tags are kept in ``found``. ``grow`` extends the data on demand.
    """

    def __init__(
        self,
        data: Bytes,
        order: str,
        stop_when: Callable[[int], bool],
        wanted: frozenset[int] = frozenset(),
        grow: Callable[[int], None] | None = None,
    ) -> None:
        self.found: dict[int, bytes] = {}
        self._data = data
        self._stop_when = stop_when
        self._wanted = wanted
        self._grow = grow
        self._implicit = struct.Struct(f"{order}HHL").unpack_from
        self._explicit = struct.Struct(f"{order}HH2sH").unpack_from
        self._long = struct.Struct(f"{order}L").unpack_from
        self._end_mark = struct.pack(f"{order}HH", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF)
        self.elements = self.items = 0
        self._start = 0
        self._stop: Stop | None = None

    def run(self, start: int) -> Stop | None:
        """Walk to the stop; None if the data end before, ImageTooLargeError if too much."""
        self._start = start
        try:
            self._dataset(start, _ANYWHERE, _ANYWHERE, self._lacks_vr(start), 0)
        except _EndError:
            return None
        return self._stop

    def _dataset(self, at: int, end: int, limit: int, is_implicit: bool, depth: int) -> int:
        while at < end:
            begin = at
            at += 8
            self._reach(at, limit)
            group, element, vr, length = self._explicit(self._data, begin)
            if is_implicit or not b"AA" <= vr <= b"ZZ":
                vr, (_, _, length) = None, self._implicit(self._data, begin)
            elif vr in _LONG:
                at += 4
                self._reach(at, limit)
                (length,) = self._long(self._data, begin + 8)
            tag = group << 16 | element
            if tag == ITEM_END:
                return at
            if depth == 0 and self._stop_when(tag):
                self._stop = Stop(tag, begin, at, None if length == UNDEFINED else length, vr)
                return begin
            self.elements += 1
            if self.elements > MAX_ELEMENTS:
                refuse(f"more than {MAX_ELEMENTS} elements")
            if length == UNDEFINED:
                at = self._undefined(tag, vr, at, limit, is_implicit, depth)
                continue
            if vr == b"SQ" or (tag in _SEQUENCES and (vr is None or vr == b"UN")):
                self._defined_sequence(at, min(at + length, limit), is_implicit, depth)
            elif length > MAX_TEXTS or (depth == 0 and tag in self._wanted):
                self._value(tag, vr, at, length, depth)
            at += length
        return at

    def _undefined(
        self, tag: int, vr: bytes | None, at: int, limit: int, is_implicit: bool, depth: int
    ) -> int:
        is_sequence = vr in (b"SQ", b"UN") or (vr is None and tag in _SEQUENCES)
        if vr is None and tag not in DicomDictionary:  # then its first item tells
            self._reach(at + 8, limit)
            group, element, _ = self._implicit(self._data, at)
            is_sequence = group << 16 | element == ITEM
        if is_sequence:
            return self._sequence(at, _ANYWHERE, limit, is_implicit, depth)
        while (found := self._data.find(self._end_mark, at)) < 0:
            at = max(at, len(self._data) - 3)
            self._reach(len(self._data) + 1, limit)
        return found + 8

    def _defined_sequence(self, at: int, end: int, is_implicit: bool, depth: int) -> None:
        try:
            self._sequence(at, end, end, is_implicit, depth)
        except _EndError:
            return

    def _sequence(self, at: int, end: int, limit: int, is_implicit: bool, depth: int) -> int:
        if depth >= MAX_DEPTH:
            refuse(f"sequences nested more than {MAX_DEPTH} deep")
        while at < end:
            self._reach(at + 8, limit)
            group, element, length = self._implicit(self._data, at)
            at += 8
            if group << 16 | element == SEQUENCE_END:
                break
            self.items += 1
            if self.items > MAX_ITEMS:
                refuse(f"more than {MAX_ITEMS} sequence items")
            item_end = _ANYWHERE if length == UNDEFINED else at + length
            at = self._dataset(at, item_end, limit, is_implicit or self._lacks_vr(at), depth + 1)
        return at

    def _lacks_vr(self, at: int) -> bool:
        try:
            self._reach(at + 6, _ANYWHERE)
        except _EndError:
            return False
        first, second = self._data[at + 4 : at + 6]
        return not (0x40 < first < 0x5B and 0x40 < second < 0x5B)

    def _value(self, tag: int, vr: bytes | None, at: int, length: int, depth: int) -> None:
        is_wanted = depth == 0 and tag in self._wanted
        if verify_length(tag, vr, length) or is_wanted:
            self._reach(at + length, _ANYWHERE)
            value = self._data[at : at + length]
            verify_values(value)
            if is_wanted:
                self.found[tag] = bytes(value)

    def _reach(self, size: int, limit: int) -> None:
        if size > len(self._data) and self._grow is not None:
            verify_header_size(size - self._start)
            self._grow(size)
        if size > len(self._data) or size > limit:
            raise _EndError


def verify_structure(data: Bytes, order: str = "<") -> None:
    """Raise ImageTooLargeError for a bare data set that holds too much."""
    Walk(data, order, lambda tag: False).run(0)
