"""DICOM Part 10 files to grey images, through pydicom."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pydicom
from pydicom.dataset import FileDataset

from cxr.codestream import CUT
from cxr.dicom_header import facts_of, header_warnings
from cxr.dicom_pixels import PALETTE, stored_values
from cxr.dicom_size import verify_inflated_size
from cxr.dicom_syntaxes import BY_UID
from cxr.errors import (
    InputError,
    UnreadableImageError,
    UnsupportedDicomError,
    UnsupportedMediaError,
)
from cxr.grayscale import chroma_of, integer_of, render_gray
from cxr.image import DecodedImage, Window
from cxr.silence import silence

silence("pydicom")
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
CELL_BITS = (1, 8, 16)  # PS3.5 8.1.1: more are not used by any radiograph's IOD
PIXEL_DATA_TAG = b"\xe0\x7f\x10\x00"  # as it stands in little endian files
UNCOMPRESSED = "Send the image uncompressed (1.2.840.10008.1.2.1)."


def decode_dicom(
    data: bytes,
    sha256: str,
    verify_pixels: Callable[[int, int, int], None],
    window: Window | None = None,
) -> DecodedImage:
    """Decode one single-frame radiograph.

    Args:
        data: The whole Part 10 file.
        sha256: Digest of ``data``, copied to the result.
        verify_pixels: Called with columns, rows and frames before anything is allocated for
            them; raises to refuse.
        window: Shown through instead of the object's own VOI, if it is monochrome.

    Raises:
        UnreadableImageError: Truncated or corrupt.
        UnsupportedDicomError: No pixels, several frames, or a pixel format no radiograph has.
        UnsupportedMediaError: A transfer syntax that no decoder here reads.
    """
    try:
        return _decode(data, sha256, verify_pixels, window)
    except (InputError, MemoryError):
        raise
    except Exception:  # elements are parsed when touched, and raise in a hundred ways
        raise UnreadableImageError(
            "The DICOM file is truncated or corrupt. Send the complete Part 10 file."
        ) from None


def _decode(
    data: bytes,
    sha256: str,
    verify_pixels: Callable[[int, int, int], None],
    window: Window | None,
) -> DecodedImage:
    verify_inflated_size(data)
    ds = pydicom.dcmread(io.BytesIO(data))
    if "PixelData" not in ds and PIXEL_DATA_TAG in data:
        raise UnreadableImageError(CUT)
    rows, columns = _verify_header(ds, verify_pixels)
    facts = facts_of(ds)
    stored = stored_values(ds)
    with np.errstate(all="ignore"):  # absurd slopes and windows overflow, and are clipped
        rendering = render_gray(ds, stored, window)
    return DecodedImage(
        pixels=rendering.pixels,
        format="dicom",
        width=columns,
        height=rows,
        sha256=sha256,
        chroma=chroma_of(stored),
        warnings=(*rendering.notes, *header_warnings(facts)),
        dicom=facts,
        display=rendering.display,
    )


def _verify_header(
    ds: FileDataset, verify_pixels: Callable[[int, int, int], None]
) -> tuple[int, int]:
    if "PixelData" not in ds:
        raise UnsupportedDicomError(
            "The DICOM object holds no pixel data. Send an image object, not a report or document."
        )
    rows, columns = integer_of(ds, "Rows"), integer_of(ds, "Columns")
    frames = integer_of(ds, "NumberOfFrames", default=1)
    if rows < 1 or columns < 1:
        raise UnreadableImageError("The DICOM attributes Rows and Columns must be positive.")
    verify_pixels(columns, rows, max(frames, 1))
    if frames > 1:
        raise UnsupportedDicomError(
            f"The DICOM object has {frames} frames. Send a single-frame radiograph."
        )
    _verify_samples(ds)
    _verify_syntax(ds)
    return rows, columns


def _verify_samples(ds: FileDataset) -> None:
    bits = integer_of(ds, "BitsAllocated")
    if bits not in CELL_BITS:
        raise UnsupportedDicomError("Pixels of 1, 8 or 16 allocated bits are supported.")
    stored = integer_of(ds, "BitsStored", default=bits)
    if not 1 <= stored <= bits:
        raise UnreadableImageError("The DICOM attribute BitsStored contradicts BitsAllocated.")
    if not stored - 1 <= integer_of(ds, "HighBit", default=stored - 1) < bits:
        raise UnreadableImageError("The DICOM attribute HighBit contradicts BitsStored.")
    photometric = ds.get("PhotometricInterpretation", "")
    if photometric not in (*MONOCHROME, *COLOUR, PALETTE):
        raise UnsupportedDicomError("The DICOM photometric interpretation is not supported.")
    if integer_of(ds, "SamplesPerPixel", default=1) != (3 if photometric in COLOUR else 1):
        raise UnreadableImageError(
            "The DICOM attribute SamplesPerPixel contradicts PhotometricInterpretation."
        )


def _verify_syntax(ds: FileDataset) -> None:
    syntax = getattr(ds.file_meta, "TransferSyntaxUID", None)
    if syntax is None:
        raise UnreadableImageError("The DICOM file names no transfer syntax.")
    if not syntax.is_transfer_syntax:
        raise UnsupportedMediaError(
            f"The DICOM file's transfer syntax is not one of the standard's. {UNCOMPRESSED}"
        )
    if syntax not in BY_UID:
        raise UnsupportedMediaError(
            f"The DICOM transfer syntax {syntax} is not read here. {UNCOMPRESSED}"
        )
