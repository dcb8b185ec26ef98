"""DICOM Part 10 files to grey images, through pydicom.

The order of the pixel transformations is the standard's (PS3.4, N.2): bits above HighBit
masked, modality LUT, VOI LUT, and MONOCHROME1 inverted last. They are evaluated once for
every stored value instead of once for every pixel, which is exact and many times cheaper.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGExtended12Bit

from cxr.errors import (
    InputError,
    UnreadableImageError,
    UnsupportedDicomError,
    UnsupportedMediaError,
)
from cxr.image import DecodedImage, DicomFacts, GrayImage

# pydicom logs and warns with the values of attributes, which may be a patient's.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
MAX_TABLE_BITS = 16  # PS3.5 8.1.1: more bits are not used by any radiograph's IOD


def decode_dicom(
    data: bytes, sha256: str, verify_pixels: Callable[[int, int, int], None]
) -> DecodedImage:
    """Decode one single-frame radiograph.

    Args:
        data: The whole Part 10 file.
        sha256: Digest of ``data``, copied to the result.
        verify_pixels: Called with columns, rows and frames before anything is allocated for
            them; raises to refuse.

    Raises:
        UnreadableImageError: Truncated or corrupt.
        UnsupportedDicomError: No pixels, several frames, or a pixel format no radiograph has.
        UnsupportedMediaError: A transfer syntax that no decoder here reads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their texts quote attribute values
        ds = _read(data)
        rows, columns = _verify_header(ds, verify_pixels)
        stored = _stored_values(ds)
        try:
            pixels, notes = _render(ds, stored)
        except InputError:
            raise
        except Exception:  # a LUT or window that contradicts itself, in any of a hundred ways
            raise UnreadableImageError(
                "The DICOM object's modality or VOI transformation is invalid. "
                "Check its LUT and window attributes."
            ) from None
    return DecodedImage(
        pixels=pixels,
        format="dicom",
        width=columns,
        height=rows,
        sha256=sha256,
        warnings=notes,
        dicom=_facts(ds),
    )


def _read(data: bytes) -> FileDataset:
    try:
        ds = pydicom.dcmread(io.BytesIO(data))
        # Elements are parsed lazily: touching what is used makes a broken one fail here.
        for keyword in ("SOPClassUID", "Rows", "Columns", "NumberOfFrames", "Modality"):
            ds.get(keyword)
    except Exception:  # pydicom's parser raises whatever the bytes lead it to
        raise UnreadableImageError(
            "The DICOM file is truncated or corrupt. Send the complete Part 10 file."
        ) from None
    return ds


def _integer(ds: FileDataset, keyword: str, default: int = 0) -> int:
    value = ds.get(keyword)
    try:
        return default if value in (None, "") else int(value)
    except (TypeError, ValueError):
        raise UnreadableImageError(f"The DICOM attribute {keyword} is not a number.") from None


def _verify_header(
    ds: FileDataset, verify_pixels: Callable[[int, int, int], None]
) -> tuple[int, int]:
    if "PixelData" not in ds:
        raise UnsupportedDicomError(
            "The DICOM object holds no pixel data. Send an image object, not a report or document."
        )
    rows, columns = _integer(ds, "Rows"), _integer(ds, "Columns")
    frames = _integer(ds, "NumberOfFrames", default=1)
    if rows < 1 or columns < 1:
        raise UnreadableImageError("The DICOM attributes Rows and Columns must be positive.")
    verify_pixels(columns, rows, max(frames, 1))
    if frames > 1:
        raise UnsupportedDicomError(
            f"The DICOM object has {frames} frames. Send a single-frame radiograph."
        )
    bits = _integer(ds, "BitsAllocated")
    if not 1 <= bits <= MAX_TABLE_BITS:
        raise UnsupportedDicomError("Pixels of 1 to 16 allocated bits are supported.")
    if not 1 <= _integer(ds, "BitsStored", default=bits) <= bits:
        raise UnreadableImageError("The DICOM attribute BitsStored contradicts BitsAllocated.")
    if ds.get("PhotometricInterpretation", "") not in (*MONOCHROME, *COLOUR):
        raise UnsupportedDicomError("The DICOM photometric interpretation is not supported.")
    syntax = _transfer_syntax(ds)
    # Pillow, the decoder behind it, reads JPEG of 8 bits only.
    beyond = syntax == JPEGExtended12Bit and _integer(ds, "BitsStored") > 8
    if syntax.is_compressed and (beyond or not _has_decoder(syntax)):
        raise UnsupportedMediaError(
            f"No decoder is installed for the DICOM transfer syntax {syntax}. "
            "Send the image uncompressed (1.2.840.10008.1.2.1)."
        )
    return rows, columns


def _transfer_syntax(ds: FileDataset) -> Any:
    syntax = getattr(ds.file_meta, "TransferSyntaxUID", None)
    if syntax is None or not syntax.is_transfer_syntax:
        raise UnreadableImageError("The DICOM file names no valid transfer syntax.")
    return syntax


def _has_decoder(syntax: Any) -> bool:
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _stored_values(ds: FileDataset) -> NDArray[Any]:
    try:
        return pixel_array(ds, raw=False)
    except Exception:  # each decoder plugin has its own exceptions
        raise UnreadableImageError(
            "The DICOM pixel data are truncated or corrupt. Send the complete original object."
        ) from None


def _render(ds: FileDataset, stored: NDArray[Any]) -> tuple[GrayImage, tuple[str, ...]]:
    if stored.ndim == 3:  # colour: a secondary capture, or a radiograph exported as one
        return _luma(stored), ("The DICOM object is in colour; it was converted to grey.",)
    bits_stored = _integer(ds, "BitsStored", default=_integer(ds, "BitsAllocated"))
    signed = _integer(ds, "PixelRepresentation") == 1
    size = 1 << bits_stored
    # Bits above HighBit may hold overlays (PS3.5 8.1.1, retired but met).
    codes = stored.astype(np.int32) & (size - 1)
    lowest = -(size >> 1) if signed else 0
    if signed:
        codes = np.where(codes >= size >> 1, codes - size, codes)
    values = np.arange(lowest, lowest + size, dtype=np.int32)
    present = np.bincount((codes - lowest).ravel(), minlength=size) > 0
    table = _display_table(ds, values, present)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        table = 255 - table
    return table[codes - lowest], ()


def _luma(rgb: NDArray[Any]) -> GrayImage:
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601-2, as Pillow's
    gray = rgb[..., :3].astype(np.float32) @ weights
    if rgb.dtype.itemsize > 1:
        gray /= 257.0
    return np.clip(gray + 0.5, 0.0, 255.0).astype(np.uint8)


def _display_table(ds: FileDataset, stored: NDArray[np.int32], present: NDArray[Any]) -> GrayImage:
    """Map every stored value to a grey level.

    Args:
        ds: The dataset with its modality and VOI attributes.
        stored: All stored values in order, shape (2**BitsStored,).
        present: Which of them occur in the image.

    Returns:
        Same shape, uint8, before the inversion of MONOCHROME1.
    """
    _correct_descriptors(ds)
    # apply_modality_lut looks a LUT up by stored value, so it may be asked for all at once.
    values = np.asarray(apply_modality_lut(stored, ds), dtype=np.float64)
    if _has_voi_lut(ds):
        looked_up = np.asarray(apply_voi_lut(values.astype(np.int64), ds), dtype=np.float64)
        bits = int(ds.VOILUTSequence[0].LUTDescriptor[2])
        fraction = looked_up / (2.0**bits - 1.0)
    elif (window := _first_window(ds)) is not None:
        fraction = _windowed(values, *window)
    else:
        low, high = _value_range(ds, stored, values, present)
        fraction = (values - low) / max(high - low, 1e-9)
    return np.clip(fraction * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)


def _correct_descriptors(ds: FileDataset) -> None:
    """Read the first mapped value of LUTs as signed where the pixels are (PS3.3 C.11.1.1.1).

    Files of implicit VR carry no sign of their own, and it is read as unsigned.
    """
    if _integer(ds, "PixelRepresentation") != 1:
        return
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        for item in ds.get(keyword) or ():
            entries, first, bits = item.LUTDescriptor
            if first >= 1 << 15:
                item.LUTDescriptor = [entries, first - (1 << 16), bits]


def _has_voi_lut(ds: FileDataset) -> bool:
    return bool(ds.get("VOILUTSequence")) and ds.VOILUTSequence[0].get("LUTData") is not None


def _first_window(ds: FileDataset) -> tuple[float, float, str] | None:
    centre, width = ds.get("WindowCenter"), ds.get("WindowWidth")
    if centre in (None, "") or width in (None, ""):
        return None
    first = [
        v[0] if isinstance(v, (list, pydicom.multival.MultiValue)) else v for v in (centre, width)
    ]
    function = str(ds.get("VOILUTFunction") or "LINEAR").upper()
    centre, width = (float(v) for v in first)
    # PS3.3 C.11.2.1.2: the width is at least 1, and above 0 for LINEAR_EXACT and SIGMOID.
    if (width < 1 and function == "LINEAR") or width <= 0:
        return None
    return centre, width, function


def _windowed(values: NDArray[np.float64], centre: float, width: float, function: str) -> Any:
    """Apply a window, PS3.3 C.11.2.1.2 and C.11.2.1.3. Gives fractions, clipped later."""
    if function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(-4.0 * (values - centre) / width))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    if width == 1.0:
        return (values > centre - 0.5).astype(np.float64)
    return (values - (centre - 0.5)) / (width - 1.0) + 0.5


def _value_range(
    ds: FileDataset, stored: NDArray[np.int32], values: NDArray[np.float64], present: NDArray[Any]
) -> tuple[float, float]:
    """Range of the values that occur, padding left out: the display of an image without VOI."""
    padding = ds.get("PixelPaddingValue")
    if isinstance(padding, int):
        kept = present & (stored != padding)
        present = kept if kept.any() else present
    return float(values[present].min()), float(values[present].max())


def _facts(ds: FileDataset) -> DicomFacts:
    def code(keyword: str) -> str:
        value = ds.get(keyword)
        return "" if value is None else str(value).strip().upper()

    return DicomFacts(
        modality=code("Modality"),
        view_position=code("ViewPosition"),
        body_part=code("BodyPartExamined"),
        photometric_interpretation=code("PhotometricInterpretation"),
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
    )
