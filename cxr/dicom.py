"""DICOM Part 10 files to grey images, through pydicom."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from typing import Any

import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGExtended12Bit

from cxr.dicom_age import age_years_of
from cxr.dicom_size import verify_codestream_size, verify_inflated_size
from cxr.errors import (
    InputError,
    UnreadableImageError,
    UnsupportedDicomError,
    UnsupportedMediaError,
)
from cxr.grayscale import chroma_of, integer_of, render_gray
from cxr.image import DecodedImage, DicomFacts, Window

# pydicom logs and warns with the values of attributes, which may be a patient's.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PIXEL_DATA_TAG = b"\xe0\x7f\x10\x00"  # as it stands in little endian files
CUT_PIXELS = "The DICOM pixel data are truncated or corrupt. Send the complete original object."
MAX_TABLE_BITS = 16  # PS3.5 8.1.1: more bits are not used by any radiograph's IOD


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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their texts quote attribute values
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
        raise UnreadableImageError(CUT_PIXELS)
    rows, columns = _verify_header(ds, verify_pixels)
    stored = _stored_values(ds)
    rendering = render_gray(ds, stored, window)
    return DecodedImage(
        pixels=rendering.pixels,
        format="dicom",
        width=columns,
        height=rows,
        sha256=sha256,
        chroma=chroma_of(stored),
        warnings=rendering.notes,
        dicom=_facts(ds),
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
    bits = integer_of(ds, "BitsAllocated")
    if not 1 <= bits <= MAX_TABLE_BITS:
        raise UnsupportedDicomError("Pixels of 1 to 16 allocated bits are supported.")
    if not 1 <= integer_of(ds, "BitsStored", default=bits) <= bits:
        raise UnreadableImageError("The DICOM attribute BitsStored contradicts BitsAllocated.")
    if ds.get("PhotometricInterpretation", "") not in (*MONOCHROME, *COLOUR):
        raise UnsupportedDicomError("The DICOM photometric interpretation is not supported.")
    syntax = _transfer_syntax(ds)
    # Pillow, the decoder behind it, reads JPEG of 8 bits only.
    beyond = syntax == JPEGExtended12Bit and integer_of(ds, "BitsStored") > 8
    if syntax.is_compressed and (beyond or not _has_decoder(syntax)):
        raise UnsupportedMediaError(
            f"No decoder is installed for the DICOM transfer syntax {syntax}. "
            "Send the image uncompressed (1.2.840.10008.1.2.1)."
        )
    return rows, columns


def _transfer_syntax(ds: FileDataset) -> Any:
    syntax = getattr(ds.file_meta, "TransferSyntaxUID", None)
    if syntax is None:
        raise UnreadableImageError("The DICOM file names no transfer syntax.")
    if not syntax.is_transfer_syntax:
        raise UnsupportedMediaError(
            "The DICOM file's transfer syntax is not one of the standard's. "
            "Send the image uncompressed (1.2.840.10008.1.2.1)."
        )
    return syntax


def _has_decoder(syntax: Any) -> bool:
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:
        return False


def _stored_values(ds: FileDataset) -> NDArray[Any]:
    if _transfer_syntax(ds).is_encapsulated:
        verify_codestream_size(ds)
    try:
        return pixel_array(ds, raw=False)
    except Exception:  # each decoder plugin has its own exceptions
        raise UnreadableImageError(CUT_PIXELS) from None


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
        age_years=age_years_of(ds),
    )
