"""Pixel data of a DICOM dataset to the values that are stored in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from cxr.dicom.cells import frame_of, native_cells, run_length_cells
from cxr.dicom.codestream import CUT, Header, find_jpeg_2000, read_jpeg, read_jpeg_2000
from cxr.dicom.part10 import PixelData, shape_of
from cxr.dicom.syntaxes import BY_UID, JPEG, JPEG_2000, RLE, Codec
from cxr.errors import InputError, UnreadableImageError


@dataclass(frozen=True)
class Stored:
    """Values as they are stored, before any display transformation.

    Attributes:
        values: Shape (H, W) of any integer type, grey or indices of a palette; or (H, W, 3).
        bits: Of each grey value that may be other than 0, above BitsStored if whole cells
            were stored; of the full scale of a colour.
        overshoots: Whether values beyond BitsStored are errors of a lossy encoder.
        is_ycc: Whether colours are YCbCr of full range (PS3.3 C.7.6.3.1.2, YBR_FULL), else RGB.
    """

    values: NDArray[Any]
    bits: int
    overshoots: bool = False
    is_ycc: bool = False


def decoding_bytes(ds: Dataset) -> int:
    """Return the most bytes of memory that a pixel of a verified header takes, beside the file."""
    codec = BY_UID[ds.file_meta.TransferSyntaxUID].codec
    _, _, samples = shape_of(ds)
    if codec is not None:
        return codec.gray_bytes if samples == 1 else codec.colour_bytes
    return samples * -(-int(ds.BitsAllocated) // 8) + 2  # its cells, a segment or grey, and strips


def stored_values(ds: Dataset, pixels: PixelData) -> Stored:
    """Read the one frame of a dataset whose header was verified.

    Args:
        ds: The header.
        pixels: Its pixel data.

    Raises:
        UnreadableImageError: Truncated, corrupt, or another size than the dataset's.
        ImageTooLargeError: JPEG 2000 of too many tiles or blocks, or too many fragments.
    """
    syntax = BY_UID[ds.file_meta.TransferSyntaxUID]
    try:
        if syntax.codec is not None:
            return _decoded(ds, syntax.codec, frame_of(pixels), is_lossy=syntax.is_lossy)
        values = (run_length_cells if syntax.uid == RLE else native_cells)(ds, pixels)
    except (InputError, MemoryError):
        raise
    except Exception:  # each decoder has its own exceptions
        raise UnreadableImageError(CUT) from None
    bits = int(ds.BitsAllocated if values.ndim == 2 else ds.BitsStored)
    return Stored(values, bits, is_ycc=ds.PhotometricInterpretation.startswith("YBR_FULL"))


def _decoded(ds: Dataset, codec: Codec, frame: memoryview, *, is_lossy: bool) -> Stored:
    if codec.family == JPEG_2000:
        frame = frame[find_jpeg_2000(frame) :]  # some wrap it in a JP2 file
        header = read_jpeg_2000(frame)
    else:
        header = read_jpeg(frame)
    if (header.width, header.height) != (ds.Columns, ds.Rows):
        raise UnreadableImageError(
            "The compressed frame declares another size than the DICOM attributes Rows and "
            "Columns. Send the original object."
        )
    if header.components not in (1, 3) or header.components != ds.SamplesPerPixel:
        raise UnreadableImageError(
            "The compressed frame has another number of colours than the DICOM attribute "
            "SamplesPerPixel. Send the original object."
        )
    if header.components == 3:
        return _decoded_colours(ds, codec, frame, header)
    values = codec.decode(frame).reshape(header.height, header.width)
    is_signed = ds.PixelRepresentation == 1
    if is_signed and not header.signed and header.bits < ds.BitsStored:
        values = _sign_extended(values, header.bits, ds.BitsStored)
    overshoots = is_lossy and header.bits > ds.BitsStored and header.signed == is_signed
    return Stored(values, header.bits, overshoots)


def _decoded_colours(ds: Dataset, codec: Codec, frame: memoryview, header: Header) -> Stored:
    colours = {}
    if codec.family == JPEG:  # told what it holds, the decoder gives RGB
        labelled_rgb = ds.PhotometricInterpretation == "RGB"
        is_rgb = labelled_rgb if header.is_ycc is None else not header.is_ycc
        colours = {"colorspace": "RGB" if is_rgb else "YCBCR", "outcolorspace": "RGB"}
    values = codec.decode(frame, **colours).reshape(header.height, header.width, 3)
    # JPEG 2000 undoes its own transformation, whatever the label.
    is_ycc = codec.family not in (JPEG, JPEG_2000)
    is_ycc = is_ycc and ds.PhotometricInterpretation.startswith("YBR_FULL")
    return Stored(values, header.bits, is_ycc=is_ycc)


def _sign_extended(values: NDArray[Any], bits: int, stored_bits: int) -> NDArray[Any]:
    """Give unsigned samples the sign that their dataset declares, in two's complement."""
    cells = values if 8 * values.itemsize >= stored_bits else values.astype(np.uint16)
    half = cells.dtype.type(1 << (bits - 1))
    cells ^= half
    cells -= half
    return cells
