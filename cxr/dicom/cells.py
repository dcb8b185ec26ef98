"""Cells of DICOM pixel data that no codec is needed for, without a copy of what can be viewed."""

from __future__ import annotations

import struct
from typing import Any, cast

import numpy as np
from imagecodecs import PackbitsError, packbits_decode
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxr.dicom.codestream import CUT
from cxr.dicom.part10 import PixelData, fragments_of, shape_of
from cxr.errors import UnreadableImageError

SUBSAMPLED = "YBR_FULL_422"

_RUN_LENGTH_HEAD = struct.Struct("<16L")
_EXCESS_BYTES = 1 << 16  # some encoders pad a segment, none by more than a row


def frame_of(pixels: PixelData) -> memoryview:
    """Give the one frame of encapsulated pixel data (PS3.5, A.4): all of its fragments.

    Raises:
        UnreadableImageError: A fragment is cut, or there is none.
        ImageTooLargeError: There are more than :data:`cxr.dicom.bounds.MAX_ITEMS`.
    """
    frame = fragments_of(pixels)
    if not frame:
        raise UnreadableImageError(CUT)
    return frame[0] if len(frame) == 1 else memoryview(b"".join(frame))


def native_cells(ds: Dataset, pixels: PixelData) -> NDArray[Any]:
    """View uncompressed cells of a verified header (PS3.5, 8.1.1).

    Returns:
        Shape (H, W), or (H, W, 3) of colour, unsigned, of one bit, a byte or a word.

    Raises:
        UnreadableImageError: There are too few.
    """
    rows, columns, samples = shape_of(ds)
    count = rows * columns * samples
    if ds.BitsAllocated == 1:
        _verify_length(pixels.value, -(-count // 8))
        bits = np.frombuffer(pixels.value, np.uint8, -(-count // 8))
        return np.unpackbits(bits, bitorder="little", count=count).reshape(rows, columns)
    item_bytes = int(ds.BitsAllocated) // 8
    value = pixels.value
    if pixels.order == ">" and pixels.is_words and item_bytes == 1:  # bytes stand in words
        value = memoryview(np.frombuffer(value, "<u2", len(value) // 2).byteswap().tobytes())
    kind = np.dtype(f"{pixels.order}u{item_bytes}")
    if ds.PhotometricInterpretation == SUBSAMPLED and len(value) < count * item_bytes:
        _verify_length(value, rows * columns * 2 * item_bytes)
        return _resampled(np.frombuffer(value, kind, rows * columns * 2), rows, columns)
    _verify_length(value, count * item_bytes)
    cells = np.frombuffer(value, kind, count)
    if samples == 1:
        return cells.reshape(rows, columns)
    if ds.get("PlanarConfiguration") == 1:
        return cells.reshape(samples, rows, columns).transpose(1, 2, 0)
    return cells.reshape(rows, columns, samples)


def run_length_cells(ds: Dataset, pixels: PixelData) -> NDArray[Any]:
    """Decode run-length encoded cells (PS3.5, annex G), whose size is known before.

    Returns:
        As :func:`native_cells` does.

    Raises:
        UnreadableImageError: A segment is cut, or longer or shorter than the image.
        ImageTooLargeError: The frame is in too many fragments.
    """
    rows, columns, samples = shape_of(ds)
    size, item_bytes = rows * columns, int(ds.BitsAllocated) // 8
    frame = frame_of(pixels)
    if len(frame) < _RUN_LENGTH_HEAD.size or not item_bytes:
        raise UnreadableImageError(CUT)
    count, *offsets = _RUN_LENGTH_HEAD.unpack_from(frame)
    if count != samples * item_bytes:
        raise UnreadableImageError(CUT)
    ends = [*offsets[1:count], len(frame)]
    planes = np.empty((samples, size, item_bytes), np.uint8)
    for number, (begin, end) in enumerate(zip(offsets, ends, strict=False)):
        sample, place = divmod(number, item_bytes)
        # The highest byte comes first. No name holds a segment while the next one is unpacked.
        planes[sample, :, item_bytes - 1 - place] = _unpacked(frame[begin:end], size)
    cells = planes.view(f"<u{item_bytes}").reshape(samples, rows, columns)
    return cells[0] if samples == 1 else cells.transpose(1, 2, 0)


def _unpacked(segment: memoryview, size: int) -> NDArray[np.uint8]:
    """Decode one segment to as many bytes as there are pixels."""
    room: Any = np.empty(size + _EXCESS_BYTES, np.uint8)
    for kept in (len(segment), len(segment) - 1):  # the last byte may be there to make it even
        try:
            unpacked: Any = packbits_decode(cast("bytes", segment[:kept]), out=room)
        except PackbitsError:
            continue
        if len(unpacked) >= size:
            return cast("NDArray[np.uint8]", unpacked[:size])
    raise UnreadableImageError(CUT)


def _resampled(cells: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    """Give each pixel its colour where two of a row share one (PS3.3 C.7.6.3.1.2)."""
    pairs = cells.reshape(-1, 4)
    full = np.empty((len(pairs), 2, 3), cells.dtype)
    full[..., 0] = pairs[:, :2]
    full[..., 1:] = pairs[:, np.newaxis, 2:]
    return full.reshape(rows, columns, 3)


def _verify_length(value: memoryview, size: int) -> None:
    if len(value) < size:
        raise UnreadableImageError(CUT)
