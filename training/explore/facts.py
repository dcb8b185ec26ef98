"""Measurements of one image, apart from the finding."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from cxr.images.decoding import DecodeOptions, decode_image
from cxr.pixels.image import GrayImage

THUMBNAIL_PX = 64
HISTOGRAM_BINS = 64

WHOLE = DecodeOptions(reduce_to_px=0)  # duplicates are told by all pixels
VIEW_PX = 256  # borders and corners are judged on a copy of at most this side
BORDER_SHARE = 1 / 16
CORNER_SHARE = 1 / 4
NEARLY_BLACK = 16  # grey levels: below what a detector shows beside the collimator
MARK_PX = 15  # wider than the strokes of a letter on the copy
MARK_CONTRAST = 60  # grey levels: bones stand out by less

CLUES = {
    "file_bytes": "file size",
    "bytes_per_pixel": "file size per pixel",
    "width": "width",
    "height": "height",
    "aspect": "width against height",
    "mean": "mean grey level",
    "contrast": "contrast",
    "border_dark": "nearly black border",
    "corner_mean": "grey level of the corners",
    "corner_marks": "letters and marks in the corners",
}
"""Figures of :attr:`Facts.clues` and what people call them."""


@dataclass(frozen=True)
class Facts:
    """One image without its pixels.

    Attributes:
        thumbnail: Shape (64, 64), uint8.
        histogram: Shape (64,), shares of the pixels by four grey levels each.
        format: ``jpeg``, ``png`` or ``dicom``.
    """

    clues: dict[str, float]
    thumbnail: NDArray[np.uint8]
    histogram: NDArray[np.float32]
    digest: str
    format: str


def measure_image(data: bytes) -> Facts:
    """Measure one file, in any thread; InputError if unreadable."""
    decoded = decode_image(data, WHOLE)
    pixels = decoded.pixels
    counts = np.bincount(pixels.ravel(), minlength=256)
    levels = np.arange(256)
    mean = float(counts @ levels) / pixels.size
    view = small_copy(pixels, VIEW_PX)
    corners = _corners_of(view)
    clues = {
        "file_bytes": float(len(data)),
        "bytes_per_pixel": len(data) / (decoded.width * decoded.height),
        "width": float(decoded.width),
        "height": float(decoded.height),
        "aspect": decoded.width / decoded.height,
        "mean": mean,
        "contrast": float(np.sqrt(counts @ (levels - mean) ** 2 / pixels.size)),
        "border_dark": _dark_border(view),
        "corner_mean": float(np.mean([corner.mean() for corner in corners])),
        "corner_marks": float(np.mean([_marks(corner) for corner in corners])),
    }
    side = (THUMBNAIL_PX, THUMBNAIL_PX)
    return Facts(
        clues=clues,
        thumbnail=np.asarray(Image.fromarray(pixels).resize(side, Image.Resampling.BOX)),
        histogram=(counts.reshape(HISTOGRAM_BINS, -1).sum(axis=1) / pixels.size).astype(np.float32),
        digest=hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest(),
        format=decoded.format,
    )


def small_copy(pixels: GrayImage, side_px: int) -> GrayImage:
    """Return the image, at most ``side_px`` long."""
    height, width = pixels.shape
    scale = side_px / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def _dark_border(view: GrayImage) -> float:
    rows, columns = (max(1, round(side * BORDER_SHARE)) for side in view.shape)
    inside = np.zeros(view.shape, dtype=bool)
    inside[rows:-rows, columns:-columns] = True
    return float((view[~inside] < NEARLY_BLACK).mean())


def _corners_of(view: GrayImage) -> list[GrayImage]:
    rows, columns = (max(1, round(side * CORNER_SHARE)) for side in view.shape)
    return [part[:, at] for part in (view[:rows], view[-rows:]) for at in _ends(columns)]


def _ends(count: int) -> tuple[slice, slice]:
    return slice(None, count), slice(-count, None)


def _marks(corner: GrayImage) -> float:
    """Return the share of pixels on something thin and bright, as letters are."""
    return float((ndimage.white_tophat(corner, size=MARK_PX) > MARK_CONTRAST).mean())
