"""Pixel data of a DICOM dataset to stored values."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from imagecodecs import PackbitsError, packbits_decode
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxr.dicom.codestream import CUT, Header, find_jpeg_2000, read_jpeg, read_jpeg_2000
from cxr.dicom.part10 import PixelData, fragments_of, shape_of
from cxr.dicom.syntaxes import BY_UID, JPEG, JPEG_2000, RLE, Codec
from cxr.errors import InputError, UnreadableImageError


@dataclass(frozen=True)
class StoredValues:
    """Values before any display transformation, shape (H, W) or (H, W, 3).

    Attributes:
        bits: Bits of a grey value, above BitsStored if whole cells were stored, or of a colour.
        overshoots: Whether values beyond BitsStored are errors of a lossy encoder.
        is_ycc: Full-range YCbCr (PS3.3 C.7.6.3.1.2), else RGB.
    """

    values: NDArray[Any]
    bits: int
    overshoots: bool = False
    is_ycc: bool = False


def decoding_bytes(ds: Dataset) -> int:
    """Return the memory a pixel takes to decode, beside the file."""
    codec = BY_UID[ds.file_meta.TransferSyntaxUID].codec
    _, _, samples = shape_of(ds)
    if codec is not None:
        return codec.gray_bytes if samples == 1 else codec.colour_bytes
    return samples * -(-int(ds.BitsAllocated) // 8) + 2  # its cells, a segment or grey, and strips


def stored_values(ds: Dataset, pixels: PixelData) -> StoredValues:
    """Read the one frame of a verified dataset.

    Raises:
        UnreadableImageError: Truncated, corrupt, or another size.
        ImageTooLargeError: Too many tiles, blocks or fragments.
    """
    syntax = BY_UID[ds.file_meta.TransferSyntaxUID]
    try:
        if syntax.codec is not None:
            return _decoded(ds, syntax.codec, _frame_of(pixels), is_lossy=syntax.is_lossy)
        values = (_run_length_cells if syntax.uid == RLE else _native_cells)(ds, pixels)
    except (InputError, MemoryError):
        raise
    except Exception:  # each decoder has its own exceptions
        raise UnreadableImageError(CUT) from None
    bits = int(ds.BitsAllocated if values.ndim == 2 else ds.BitsStored)
    return StoredValues(values, bits, is_ycc=ds.PhotometricInterpretation.startswith("YBR_FULL"))


def _decoded(ds: Dataset, codec: Codec, frame: memoryview, *, is_lossy: bool) -> StoredValues:
    if codec.family == JPEG_2000:
        frame = frame[find_jpeg_2000(frame) :]  # some wrap it in a JP2 file
        header = read_jpeg_2000(frame)
    else:
        header = read_jpeg(frame)
    if (header.width, header.height) != (ds.Columns, ds.Rows):
        raise UnreadableImageError(
            "The size of the compressed frame contradicts the DICOM attributes Rows and Columns. "
            "Send the original object."
        )
    if header.components not in (1, 3) or header.components != ds.SamplesPerPixel:
        raise UnreadableImageError(
            "The compressed frame contradicts the DICOM attribute Samples per Pixel. Send the "
            "original object."
        )
    if header.components == 3:
        return _decoded_colours(ds, codec, frame, header)
    values = codec.decode(frame).reshape(header.height, header.width)
    is_signed = ds.PixelRepresentation == 1
    if is_signed and not header.signed and header.bits < ds.BitsStored:
        values = _sign_extended(values, header.bits, ds.BitsStored)
    overshoots = is_lossy and header.bits > ds.BitsStored and header.signed == is_signed
    return StoredValues(values, header.bits, overshoots)


def _decoded_colours(ds: Dataset, codec: Codec, frame: memoryview, header: Header) -> StoredValues:
    colours = {}
    if codec.family == JPEG:  # told what it holds, the decoder gives RGB
        labelled_rgb = ds.PhotometricInterpretation == "RGB"
        is_rgb = labelled_rgb if header.is_ycc is None else not header.is_ycc
        colours = {"colorspace": "RGB" if is_rgb else "YCBCR", "outcolorspace": "RGB"}
    values = codec.decode(frame, **colours).reshape(header.height, header.width, 3)
    # JPEG 2000 undoes its own transformation, whatever the label.
    is_ycc = codec.family not in (JPEG, JPEG_2000)
    is_ycc = is_ycc and ds.PhotometricInterpretation.startswith("YBR_FULL")
    return StoredValues(values, header.bits, is_ycc=is_ycc)


def _sign_extended(values: NDArray[Any], bits: int, stored_bits: int) -> NDArray[Any]:
    cells = values if 8 * values.itemsize >= stored_bits else values.astype(np.uint16)
    half = cells.dtype.type(1 << (bits - 1))
    cells ^= half
    cells -= half
    return cells


SUBSAMPLED = "YBR_FULL_422"

_RUN_LENGTH_HEAD = struct.Struct("<16L")
_EXCESS_BYTES = 1 << 16  # some encoders pad a segment, none by more than a row


def _frame_of(pixels: PixelData) -> memoryview:
    frame = fragments_of(pixels)
    if not frame:
        raise UnreadableImageError(CUT)
    return frame[0] if len(frame) == 1 else memoryview(b"".join(frame))


def _native_cells(ds: Dataset, pixels: PixelData) -> NDArray[Any]:
    """View uncompressed cells (PS3.5, 8.1.1), (H, W) or (H, W, 3), copied only where necessary."""
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


def _run_length_cells(ds: Dataset, pixels: PixelData) -> NDArray[Any]:
    """Decode run-length encoded cells (PS3.5, annex G)."""
    rows, columns, samples = shape_of(ds)
    size, item_bytes = rows * columns, int(ds.BitsAllocated) // 8
    frame = _frame_of(pixels)
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
