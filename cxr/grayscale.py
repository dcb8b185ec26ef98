"""Stored DICOM pixel values to the grey levels a viewer shows.

The order of the transformations is the standard's (PS3.4, N.2): bits above HighBit masked,
modality LUT, VOI LUT, and MONOCHROME1 inverted last. They are evaluated once for every stored
value instead of once for every pixel, which is exact and many times cheaper; the bits of a cell
are sorted out in the same table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from cxr.cells import Cells
from cxr.dicom_pixels import Stored
from cxr.errors import UnreadableImageError
from cxr.image import Display, GrayImage, Window

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


@dataclass(frozen=True)
class Rendering:
    """Grey levels of stored pixel values.

    Attributes:
        pixels: Shape (H, W), uint8, bone bright.
        notes: Sentences for the sender.
        display: How the values became grey levels, None for colour.
    """

    pixels: GrayImage
    notes: tuple[str, ...]
    display: Display | None


def integer_of(ds: Dataset, keyword: str, default: int = 0) -> int:
    """Give an attribute as a number, or the default if it is absent or empty.

    Raises:
        UnreadableImageError: It is neither.
    """
    value = ds.get(keyword)
    try:
        return default if value in (None, "") else int(value)
    except (TypeError, ValueError):
        raise UnreadableImageError(f"The DICOM attribute {keyword} is not a number.") from None


def render_gray(ds: Dataset, stored: Stored, window: Window | None = None) -> Rendering:
    """Give the grey levels a viewer shows for stored pixel values.

    Args:
        ds: The dataset with its modality, VOI and photometric attributes.
        stored: Its pixel data.
        window: Applied instead of the dataset's own VOI; its function is the dataset's. Colour
            has none, so it is ignored there.

    Raises:
        UnreadableImageError: An attribute is not a number.
        Exception: Whatever pydicom raises for a LUT that contradicts itself.
    """
    if stored.values.ndim == 3:  # colour: a secondary capture, or a radiograph exported as one
        note = "The DICOM object is in colour; it was converted to grey."
        return Rendering(_luma(stored), (note,), None)
    bits_stored = integer_of(ds, "BitsStored", default=integer_of(ds, "BitsAllocated"))
    signed = integer_of(ds, "PixelRepresentation") == 1
    size = 1 << bits_stored
    lowest = -(size >> 1) if signed else 0
    high_bit = integer_of(ds, "HighBit", default=bits_stored - 1)
    cells = stored.values
    if cells.dtype not in (np.uint8, np.uint16):
        cells = cells.astype(np.uint16)  # two's complement, if there is a sign
    codes = np.arange(1 << (8 * cells.itemsize), dtype=np.int32)  # of every cell there can be
    if high_bit < stored.bits:  # else the frame holds values and not cells
        codes >>= high_bit + 1 - bits_stored
    # Bits above HighBit may hold overlays (PS3.5 8.1.1, retired but met).
    codes &= size - 1
    if signed:
        codes = np.where(codes >= size >> 1, codes - size, codes)
    values = np.arange(lowest, lowest + size, dtype=np.int32)
    pixels = Cells(cells, codes - lowest)
    table, display = _display_table(ds, values, pixels, window)
    if ds.PhotometricInterpretation == "MONOCHROME1":
        table = 255 - table
    return Rendering(pixels.look_up(table), (), display)


def chroma_of(stored: Stored) -> float:
    """Mean spread of the colour channels in grey levels of 255; 0 for a grey image."""
    if stored.values.ndim != 3:
        return 0.0
    channels = stored.values[::4, ::4].astype(np.float32)
    spread = float((channels.max(axis=2) - channels.min(axis=2)).mean())
    return spread * 255.0 / (2.0**stored.bits - 1.0)


def _luma(stored: Stored) -> GrayImage:
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R 601-2, as Pillow's
    gray = stored.values.astype(np.float32) @ weights
    gray *= 255.0 / (2.0**stored.bits - 1.0)
    return np.clip(gray + 0.5, 0.0, 255.0).astype(np.uint8)


def _display_table(
    ds: Dataset, stored: NDArray[np.int32], cells: Cells, chosen: Window | None
) -> tuple[GrayImage, Display]:
    """Map every stored value to a grey level.

    Args:
        ds: The dataset with its modality and VOI attributes.
        stored: All stored values in order, shape (2**BitsStored,).
        cells: Which of them occur in the image.
        chosen: A window in place of the dataset's VOI.

    Returns:
        Same shape, uint8, before the inversion of MONOCHROME1; and what was applied.
    """
    _correct_descriptors(ds)
    # apply_modality_lut looks a LUT up by stored value, so it may be asked for all at once.
    values = np.asarray(apply_modality_lut(stored, ds), dtype=np.float64)
    low, high = cells.range_of(values, _padding(ds, stored))
    window = None
    if chosen is not None:
        window = _with_function_of(ds, chosen)
        fraction = _windowed(values, window)
    elif _has_voi_lut(ds):
        looked_up = np.asarray(apply_voi_lut(values.astype(np.int64), ds), dtype=np.float64)
        bits = int(ds.VOILUTSequence[0].LUTDescriptor[2])
        fraction = looked_up / (2.0**bits - 1.0)
    elif (window := _first_window(ds)) is not None:
        fraction = _windowed(values, window)
    else:
        fraction = (values - low) / max(high - low, 1e-9)
    table = np.clip(fraction * 255.0 + 0.5, 0.0, 255.0).astype(np.uint8)
    return table, Display(window, low, high)


def _correct_descriptors(ds: Dataset) -> None:
    """Read the first mapped value of LUTs as signed where the pixels are (PS3.3 C.11.1.1.1).

    Files of implicit VR carry no sign of their own, and it is read as unsigned.
    """
    if integer_of(ds, "PixelRepresentation") != 1:
        return
    for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
        for item in ds.get(keyword) or ():
            entries, first, bits = item.LUTDescriptor
            if first >= 1 << 15:
                item.LUTDescriptor = [entries, first - (1 << 16), bits]


def _has_voi_lut(ds: Dataset) -> bool:
    return bool(ds.get("VOILUTSequence")) and ds.VOILUTSequence[0].get("LUTData") is not None


def _function_of(ds: Dataset) -> str:
    """Give the dataset's VOI LUT Function, LINEAR for whatever is none (PS3.3 C.11.2.1.3)."""
    stated = str(ds.get("VOILUTFunction") or "").strip().upper()
    return stated if stated in FUNCTIONS else "LINEAR"


def _with_function_of(ds: Dataset, window: Window) -> Window:
    """Give a chosen window the dataset's function, or the exact one where LINEAR has no such."""
    function = _function_of(ds)
    if function == "LINEAR" and window.width < 1:
        function = "LINEAR_EXACT"
    return replace(window, function=function)


def _first_window(ds: Dataset) -> Window | None:
    centre, width = ds.get("WindowCenter"), ds.get("WindowWidth")
    if centre in (None, "") or width in (None, ""):
        return None
    first = [v[0] if isinstance(v, (list, MultiValue)) else v for v in (centre, width)]
    function = _function_of(ds)
    centre, width = (float(v) for v in first)
    # PS3.3 C.11.2.1.2: the width is at least 1, and above 0 for LINEAR_EXACT and SIGMOID.
    if (width < 1 and function == "LINEAR") or width <= 0 or not np.isfinite([centre, width]).all():
        return None
    return Window(centre, width, function)


def _windowed(values: NDArray[np.float64], window: Window) -> Any:
    """Apply a window, PS3.3 C.11.2.1.2 and C.11.2.1.3. Gives fractions, clipped later."""
    centre, width = window.center, window.width
    if window.function == "SIGMOID":
        # Far from the centre of a narrow window the exponential is out of range, the limit right.
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -700.0, 700.0)))
    if window.function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    if width == 1.0:
        return (values > centre - 0.5).astype(np.float64)
    return (values - (centre - 0.5)) / (width - 1.0) + 0.5


def _padding(ds: Dataset, stored: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Tell which stored values are padding (PS3.3 C.7.5.1.1.2)."""
    first = ds.get("PixelPaddingValue")
    last = ds.get("PixelPaddingRangeLimit", first)
    if not isinstance(first, int) or not isinstance(last, int):
        return np.zeros(stored.shape, dtype=np.bool_)
    # Implicit VR carries no sign of its own: it is the pixels'.
    wrap = 1 << 16 if stored[0] < 0 else 0
    ends = [end - wrap if end >= 1 << 15 else end for end in (first, last)]
    return (stored >= min(ends)) & (stored <= max(ends))
