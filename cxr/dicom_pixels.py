"""Pixel data of a DICOM dataset to the values that are stored in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_fragments
from pydicom.pixels.utils import pixel_array

from cxr.codestream import CUT, JPEG_2000_START, Header, read_jpeg, read_jpeg_2000
from cxr.dicom_syntaxes import BY_UID, JPEG, JPEG_2000, RLE, Codec
from cxr.errors import InputError, UnreadableImageError

_OFFSET_TABLES = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")


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


def stored_values(ds: Dataset) -> Stored:
    """Read the one frame of a dataset whose header was verified.

    Raises:
        UnreadableImageError: Truncated, corrupt, or another size than the dataset's.
        ImageTooLargeError: JPEG 2000 of too many tiles or blocks.
    """
    syntax = BY_UID[ds.file_meta.TransferSyntaxUID]
    try:
        if syntax.codec is None:
            return _stored_by_pydicom(ds, is_rle=syntax.uid == RLE)
        return _decoded(ds, syntax.codec, _only_frame(ds), is_lossy=syntax.is_lossy)
    except (InputError, MemoryError):
        raise
    except Exception:  # each decoder has its own exceptions
        raise UnreadableImageError(CUT) from None


def _only_frame(ds: Dataset) -> bytes:
    """Join all fragments: of one frame no offset table is needed, and many are wrong."""
    fragments = generate_fragments(ds.PixelData)
    next(fragments)  # the Basic Offset Table (PS3.5 A.4)
    return b"".join(fragments)


def _stored_by_pydicom(ds: Dataset, *, is_rle: bool) -> Stored:
    if is_rle:
        for keyword in _OFFSET_TABLES:
            ds.pop(keyword, None)
        ds.PixelData = encapsulate([_only_frame(ds)], has_bot=False)
    plugin = "pydicom" if is_rle else ""
    values = pixel_array(ds, raw=True, decoding_plugin=plugin, correct_unused_bits=False)
    bits = int(ds.BitsStored if values.ndim == 3 else ds.BitsAllocated)
    return Stored(values, bits, is_ycc=ds.PhotometricInterpretation.startswith("YBR_FULL"))


def _decoded(ds: Dataset, codec: Codec, frame: bytes, *, is_lossy: bool) -> Stored:
    if codec.family == JPEG_2000:
        frame = frame[max(frame.find(JPEG_2000_START), 0) :]  # some wrap it in a JP2 file
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
        values = _sign_extended(values, header.bits)
    overshoots = is_lossy and header.bits > ds.BitsStored and header.signed == is_signed
    return Stored(values, header.bits, overshoots)


def _decoded_colours(ds: Dataset, codec: Codec, frame: bytes, header: Header) -> Stored:
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


def _sign_extended(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Give unsigned samples the sign that their dataset declares."""
    half = 1 << (bits - 1)
    return (values.astype(np.int32) ^ half) - half
