"""Verify and complete the attributes that say how pixels are stored."""

from __future__ import annotations

from collections.abc import Callable

from pydicom.dataset import Dataset, FileDataset

from cxr.dicom.pixel_data import decoding_bytes
from cxr.dicom.syntaxes import BY_UID
from cxr.dicom.values import BLANKS, integer_of, is_absent, name_of, text_of
from cxr.errors import UnreadableImageError, UnsupportedDicomError, UnsupportedMediaError

MONOCHROME = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
CELL_BITS = (1, 8, 16)  # PS3.5 8.1.1: more are not used by any radiograph's IOD
UNCOMPRESSED = "Send the image uncompressed (1.2.840.10008.1.2.1)."


def verify_header(
    ds: FileDataset, has_pixels: bool, verify_pixels: Callable[..., None]
) -> tuple[int, int, tuple[str, ...]]:
    """Verify that a dataset describes one readable frame, and set absent attributes.

    ``verify_pixels`` is called with columns, rows and frames, then with the bytes a pixel takes.
    Returns rows, columns, and sentences on the absent attributes. InputError if unusable.
    """
    if not has_pixels:
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
    notes = _complete_samples(ds)
    _verify_syntax(ds)
    verify_pixels(columns, rows, 1, decoding_bytes(ds))
    return rows, columns, notes


def _complete_samples(ds: Dataset) -> tuple[str, ...]:
    photometric = text_of(ds, "PhotometricInterpretation").upper()
    if not photometric:
        raise UnreadableImageError("The DICOM attribute Photometric Interpretation is absent.")
    if photometric not in (*MONOCHROME, *COLOUR, PALETTE):
        raise UnsupportedDicomError("The DICOM photometric interpretation is not supported.")
    ds.PhotometricInterpretation = photometric
    bits = integer_of(ds, "BitsAllocated")
    if bits not in CELL_BITS:
        raise UnsupportedDicomError("Bits Allocated must be 1, 8 or 16.")
    colours = 3 if photometric in COLOUR else 1
    stored = integer_of(ds, "BitsStored", default=bits)
    defaults = {
        "SamplesPerPixel": colours,
        "BitsStored": bits,
        "HighBit": stored - 1,
        "PixelRepresentation": 0,
        **({"PlanarConfiguration": 0} if colours > 1 else {}),
    }
    absent = [keyword for keyword, value in defaults.items() if _set(ds, keyword, value)]
    if not 1 <= stored <= bits:
        raise UnreadableImageError("The DICOM attribute Bits Stored contradicts Bits Allocated.")
    if not stored - 1 <= ds.HighBit < bits:
        raise UnreadableImageError("The DICOM attribute High Bit contradicts Bits Stored.")
    if ds.SamplesPerPixel != colours:
        raise UnreadableImageError(
            "The DICOM attribute Samples per Pixel contradicts Photometric Interpretation."
        )
    return tuple(
        f"The DICOM attribute {name_of(keyword)} is absent; {defaults[keyword]} was assumed."
        for keyword in absent
    )


def _set(ds: Dataset, keyword: str, default: int) -> bool:
    had_none = is_absent(ds, keyword)
    setattr(ds, keyword, integer_of(ds, keyword, default))
    return had_none


def _verify_syntax(ds: FileDataset) -> None:
    syntax = getattr(ds.file_meta, "TransferSyntaxUID", None)
    if syntax is None:
        raise UnreadableImageError("The DICOM file names no transfer syntax.")
    if syntax.strip(BLANKS) != syntax:
        ds.file_meta.TransferSyntaxUID = syntax.strip(BLANKS)
        syntax = ds.file_meta.TransferSyntaxUID
    if not syntax.is_transfer_syntax:
        raise UnsupportedMediaError(
            f"The DICOM file's transfer syntax is not defined by the standard. {UNCOMPRESSED}"
        )
    if syntax not in BY_UID:
        raise UnsupportedMediaError(
            f"The DICOM transfer syntax {syntax} is not supported. {UNCOMPRESSED}"
        )
