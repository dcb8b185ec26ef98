"""Decode DICOM Part 10 files through pydicom."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydicom.dataset import FileDataset

from cxr.dicom.attributes import PALETTE, verify_header
from cxr.dicom.codestream import CUT
from cxr.dicom.colour import render_colour, render_palette
from cxr.dicom.grayscale import render_gray
from cxr.dicom.header import facts_of, header_warnings
from cxr.dicom.part10 import DicomFile, cells_bytes
from cxr.dicom.pixel_data import stored_values
from cxr.errors import InputError, UnreadableImageError
from cxr.pixels.image import DecodedImage, Window

PIXEL_DATA_TAG = b"\xe0\x7f\x10\x00"  # as it stands in little endian files
IN_COLOUR = "The DICOM object is in colour; it was converted to grey."


def decode_dicom(
    data: bytes,
    sha256: str,
    verify_pixels: Callable[..., None],
    window: Window | None = None,
) -> DecodedImage:
    """Decode one single-frame radiograph from a whole Part 10 file; InputError if unusable.

    ``verify_pixels`` is called with columns, rows and frames before anything is allocated for them,
    then with the bytes a pixel takes. ``window`` replaces the VOI of a monochrome object.
    """
    try:
        return _decode(data, sha256, verify_pixels, window)
    except (InputError, MemoryError):
        raise
    except Exception:  # elements are parsed when touched, and raise in a hundred ways
        raise UnreadableImageError(
            "A DICOM attribute of the image is malformed. Send the original object."
        ) from None


def _decode(
    data: bytes,
    sha256: str,
    verify_pixels: Callable[..., None],
    window: Window | None,
) -> DecodedImage:
    file = DicomFile(data)
    if file.pixels_at is None and PIXEL_DATA_TAG in data:
        raise UnreadableImageError(CUT)
    ds = _header_of(file)
    rows, columns, notes = verify_header(ds, file.pixels_at is not None, verify_pixels)
    facts = facts_of(ds)
    is_encapsulated = ds.file_meta.TransferSyntaxUID.is_encapsulated
    pixels = file.pixel_data(len(data) if is_encapsulated else cells_bytes(ds))
    stored = stored_values(ds, pixels)
    display, chroma = None, 0.0
    if stored.values.ndim == 3 or ds.PhotometricInterpretation == PALETTE:
        is_palette = stored.values.ndim == 2
        shown, chroma = render_palette(ds, stored.values) if is_palette else render_colour(stored)
        notes = (*notes, IN_COLOUR)
    else:
        with np.errstate(all="ignore"):  # absurd slopes and windows overflow, and are clipped
            shown, ignored, display = render_gray(ds, stored, window)
        notes = (*notes, *ignored)
    return DecodedImage(
        pixels=shown,
        format="dicom",
        width=columns,
        height=rows,
        sha256=sha256,
        chroma=chroma,
        warnings=(*notes, *header_warnings(facts)),
        dicom=facts,
        display=display,
    )


def _header_of(file: DicomFile) -> FileDataset:
    try:
        return file.header()
    except MemoryError:
        raise
    except Exception:  # a parser's, whichever the bytes led it to
        raise UnreadableImageError(
            "The DICOM header cannot be parsed. Send the complete Part 10 file."
        ) from None
