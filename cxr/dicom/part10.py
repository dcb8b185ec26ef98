"""DICOM Part 10 files (PS3.10, chapter 7) within the bounds of :mod:`cxr.dicom.bounds`."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from cxr.dicom.bounds import MAX_ITEMS, refuse, verify_header_size
from cxr.dicom.codestream import CUT
from cxr.dicom.structure import ITEM, SEQUENCE_END, Bytes, Stop, Walk
from cxr.errors import UnreadableImageError
from cxr.silence import silence

silence("pydicom")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

PREAMBLE_BYTES, PREFIX = 128, b"DICM"
META_AT = PREAMBLE_BYTES + len(PREFIX)
PIXEL_DATA = 0x7FE00010
PIXELS = frozenset({PIXEL_DATA, 0x7FE00008, 0x7FE00009})  # of integers, floats and doubles

_GROUP_LENGTH, _SYNTAX = 0x00020000, 0x00020010
_ITEM_HEAD = struct.Struct("<HHL")
_BLANKS = " \0\t\r\n"  # around a UID they are padding, or what is met
_STEP_BYTES = 1 << 16
_PIECE_BYTES = 1 << 20
_INPUT_BYTES = 1 << 14
_BIG_GROUP = 0x0400  # a small group of big endian, read as little


class FileMeta:
    """The file meta group: raw values by tag, transfer syntax, and where the data set begins.

    Raises:
        UnreadableImageError: It is no Part 10 file.
        ImageTooLargeError: The group holds too much.
    """

    def __init__(self, data: Bytes) -> None:
        if data[PREAMBLE_BYTES:META_AT] != PREFIX:
            raise UnreadableImageError("The DICOM file lacks the preamble of a Part 10 file.")
        wanted = frozenset(range(_GROUP_LENGTH, _GROUP_LENGTH + 0x20))
        walk = Walk(data, "<", lambda tag: tag >> 16 != 2, wanted)
        stop = walk.run(META_AT)
        self.values = walk.found
        self.end = len(data) if stop is None else stop.at
        name = self.values.get(_SYNTAX, b"").decode("ascii", "replace").strip(_BLANKS)
        self.syntax = UID(name) if name else None
        if self.is_deflated:  # and its first bytes may look like one more element
            stated = META_AT + 12 + int.from_bytes(self.values.get(_GROUP_LENGTH, b""), "little")
            least = META_AT + sum(8 + len(value) for value in self.values.values())
            self.end = stated if least <= stated < self.end else self.end

    @property
    def is_deflated(self) -> bool:
        """Whether the data set is compressed as a whole."""
        return self.syntax == DeflatedExplicitVRLittleEndian

    def order_of(self, data: Bytes) -> str:
        """Return the byte order of the data set, ``<`` or ``>``."""
        if self.syntax is None and len(data) >= self.end + 6:  # then its first group tells
            group, _, vr = struct.unpack("<HH2s", data[self.end : self.end + 6])
            return ">" if group >= _BIG_GROUP and vr.isalpha() and vr.isupper() else "<"
        return ">" if self.syntax == ExplicitVRBigEndian else "<"


class Inflating:
    """Inflates what follows the file meta group in steps (PS3.5, A.5).

    UnreadableImageError if corrupt or truncated.
    """

    def __init__(self, deflated: Bytes, start: int) -> None:
        self.data = bytearray()
        self._deflated = deflated
        self._at = start
        self._tail: bytes | bytearray = b""
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)

    def grow(self, size: int) -> None:
        """Inflate into ``data`` up to this size, if there is as much."""
        while len(self.data) < size and (step := self._take(_STEP_BYTES)):
            self.data += step

    def pieces(self, at: int, most_bytes: int) -> Iterator[bytes]:
        """Yield the bytes from a position on."""
        piece = bytes(self.data[at : at + most_bytes])
        while most_bytes and (piece := piece or self._take(min(most_bytes, _PIECE_BYTES))):
            yield piece
            most_bytes -= len(piece)
            piece = b""

    def rest(self, at: int, most_bytes: int) -> bytearray:
        """Return the same at once."""
        rest = bytearray()
        for piece in self.pieces(at, most_bytes):
            rest += piece
        return rest

    def _take(self, most_bytes: int) -> bytes:
        while not self._inflater.eof:
            if not self._tail:
                self._tail = self._deflated[self._at : self._at + _INPUT_BYTES]
                self._at += len(self._tail)
            if not self._tail:
                raise UnreadableImageError(CUT)
            try:
                step = self._inflater.decompress(self._tail, most_bytes)
            except zlib.error:
                raise UnreadableImageError(CUT) from None
            self._tail = self._inflater.unconsumed_tail
            if step:
                return step
        return b""


@dataclass(frozen=True)
class PixelData:
    """The value of (7FE0,0010): cells, or the items of one frame."""

    value: memoryview
    order: str
    is_words: bool


def shape_of(ds: Dataset) -> tuple[int, int, int]:
    """Return rows, columns and samples per pixel (1 by default)."""
    return int(ds.Rows), int(ds.Columns), int(ds.get("SamplesPerPixel") or 1)


def cells_bytes(ds: Dataset) -> int:
    """Return the size of the uncompressed cells of a header."""
    rows, columns, samples = shape_of(ds)
    return -(-rows * columns * samples * int(ds.BitsAllocated) // 8)


def fragments_of(pixels: PixelData) -> list[memoryview]:
    """Return the fragments of encapsulated pixel data (PS3.5, A.4)."""
    fragments: list[memoryview] = []
    at = 0
    while len(pixels.value) >= at + _ITEM_HEAD.size:
        group, element, length = _ITEM_HEAD.unpack_from(pixels.value, at)
        at += _ITEM_HEAD.size
        if group << 16 | element == SEQUENCE_END:
            return fragments[1:]
        if group << 16 | element != ITEM or len(pixels.value) < at + length:
            break
        fragments.append(pixels.value[at : at + length])
        if len(fragments) > MAX_ITEMS:
            refuse(f"more than {MAX_ITEMS} fragments of pixel data")
        at += length
    raise UnreadableImageError(CUT)


class DicomFile:
    """One Part 10 file, or its beginning up to the pixel data.

    Raises:
        UnreadableImageError: Not a Part 10 file, or its deflated part is corrupt.
        ImageTooLargeError: It holds too much.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.meta = FileMeta(data)
        self._order = self.meta.order_of(data)
        self._inflating: Inflating | None = None
        self._header: Bytes = data
        self._start = self.meta.end
        grow = None
        if self.meta.is_deflated:
            self._inflating = Inflating(data, self.meta.end)
            self._header, self._start, grow = self._inflating.data, 0, self._inflating.grow
        self._walk = Walk(self._header, self._order, PIXELS.__contains__, grow=grow)
        self._stop = self._walk.run(self._start)
        end = len(self._header) if self._stop is None else self._stop.at
        verify_header_size(end - self._start)

    @property
    def pixels_at(self) -> Stop | None:
        """Where the integer pixel data are, if any."""
        return self._stop if self._stop is not None and self._stop.tag == PIXEL_DATA else None

    @property
    def is_encapsulated(self) -> bool:
        """Whether the pixel data are in items."""
        return self.pixels_at is not None and self.pixels_at.length is None

    def header(self, keywords: Sequence[str] = ()) -> FileDataset:
        """Parse what precedes the pixel data, or only some attributes."""
        group = io.BytesIO(self._data[META_AT : self.meta.end])
        meta = FileMetaDataset(read_dataset(group, is_implicit_VR=False, is_little_endian=True))
        file = io.BytesIO(self._header)
        file.seek(self._start)
        is_implicit = self.meta.syntax is not None and self.meta.syntax.is_implicit_VR
        ds = read_dataset(
            file,
            is_implicit_VR=is_implicit,
            is_little_endian=self._order == "<",
            stop_when=lambda tag, vr, length: tag in PIXELS,
            specific_tags=[pydicom.tag.Tag(keyword) for keyword in keywords],
        )
        return FileDataset(file, ds, None, meta, is_implicit, self._order == "<")

    def pixel_data(self, most_bytes: int) -> PixelData:
        """Return at most ``most_bytes`` of pixel data, all if encapsulated."""
        stop = self._pixels()
        most = len(self._data) if stop.length is None else min(stop.length, most_bytes)
        most += most % 2
        if self._inflating is None:
            value = memoryview(self._data)[stop.value_at : stop.value_at + most]
        else:
            value = memoryview(self._inflating.rest(stop.value_at, most))
        if stop.length is not None and len(value) < min(most, stop.length):
            raise UnreadableImageError(CUT)
        return PixelData(value, self._order, stop.vr == b"OW")

    def inflated_pixels(self, most_bytes: int) -> Iterator[bytes]:
        """Yield a deflated file's pixel data, once."""
        stop = self._pixels()
        if self._inflating is not None:
            yield from self._inflating.pieces(stop.value_at, most_bytes)

    def _pixels(self) -> Stop:
        if self.pixels_at is None:
            raise UnreadableImageError(CUT)
        return self.pixels_at
