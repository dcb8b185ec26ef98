"""Pixel data of a DICOM dataset to the values that are stored in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.processing import apply_color_lut, convert_color_space
from pydicom.pixels.utils import pixel_array

from cxr.codestream import CUT, JPEG_2000_START, Header, read_jpeg, read_jpeg_2000
from cxr.dicom_syntaxes import BY_UID, JPEG, JPEG_2000, Codec
from cxr.errors import InputError, UnreadableImageError, UnsupportedDicomError

PALETTE = "PALETTE COLOR"
_SUBSAMPLED = ("YBR_FULL", "YBR_FULL_422")


@dataclass(frozen=True)
class Stored:
    """Values as they are stored, before any display transformation.

    Attributes:
        values: Shape (H, W) of any integer type, or (H, W, 3), RGB.
        bits: Of each grey value that may be other than 0, above BitsStored if whole cells
            were stored; of the full scale of a colour.
    """

    values: NDArray[Any]
    bits: int


def stored_values(ds: Dataset) -> Stored:
    """Read the one frame of a dataset whose header was verified.

    Raises:
        UnreadableImageError: Truncated, corrupt, or another size than the dataset's.
        ImageTooLargeError: JPEG 2000 of too many tiles or blocks.
        UnsupportedDicomError: A segmented palette.
    """
    codec = BY_UID[ds.file_meta.TransferSyntaxUID].codec
    try:
        if codec is None:
            plugin = "pydicom" if ds.file_meta.TransferSyntaxUID.is_encapsulated else ""
            raw = pixel_array(ds, raw=True, decoding_plugin=plugin, correct_unused_bits=False)
            values = _in_rgb(ds, raw)
            return Stored(values, _native_bits(ds, values))
        frame = get_frame(ds.PixelData, 0, number_of_frames=1)
        values, header = _decode_frame(ds, codec, frame)
    except (InputError, MemoryError):
        raise
    except Exception:  # each decoder has its own exceptions
        raise UnreadableImageError(CUT) from None
    return Stored(values, header.bits)


def _native_bits(ds: Dataset, values: NDArray[Any]) -> int:
    if values.ndim == 3 and ds.PhotometricInterpretation != PALETTE:
        return int(ds.BitsStored)
    return values.dtype.itemsize * 8 if values.ndim == 3 else int(ds.BitsAllocated)


def _decode_frame(ds: Dataset, codec: Codec, frame: bytes) -> tuple[NDArray[Any], Header]:
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
    if header.components == 1:
        values = codec.decode(frame)
        return _sign_extended(ds, values.reshape(header.height, header.width), header), header
    colours = {}
    if codec.family == JPEG:  # told what it holds, the decoder gives RGB
        is_rgb = ds.PhotometricInterpretation == "RGB" and header.adobe_transform != 1
        colours = {"colorspace": "RGB" if is_rgb else "YCBCR", "outcolorspace": "RGB"}
    values = codec.decode(frame, **colours)
    if codec.family not in (JPEG, JPEG_2000) and ds.PhotometricInterpretation in _SUBSAMPLED:
        values = convert_color_space(values, "YBR_FULL", "RGB")
    return values.reshape(header.height, header.width, 3), header


def _sign_extended(ds: Dataset, values: NDArray[Any], header: Header) -> NDArray[Any]:
    """Give unsigned samples of fewer bits than BitsStored the sign their dataset declares."""
    if ds.get("PixelRepresentation") != 1 or header.signed or header.bits >= ds.BitsStored:
        return values
    half = 1 << (header.bits - 1)
    return (values.astype(np.int32) ^ half) - half


def _in_rgb(ds: Dataset, raw: NDArray[Any]) -> NDArray[Any]:
    if ds.PhotometricInterpretation == PALETTE:
        if "SegmentedRedPaletteColorLookupTableData" in ds:
            raise UnsupportedDicomError("A segmented colour palette is not supported.")
        return apply_color_lut(raw, ds)
    if raw.ndim == 3 and ds.PhotometricInterpretation in _SUBSAMPLED:
        return convert_color_space(raw, "YBR_FULL", "RGB")
    return raw
