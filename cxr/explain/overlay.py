"""Pictures of heatmaps, with a legend and a caption below. Any thread may call any function.

Nothing here stretches a heatmap: 0 is always the lower and 1 the upper end of the colour map.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.explain.caption import render_caption
from cxr.explain.colours import colourise
from cxr.pixels.image import GrayImage

Heatmap = NDArray[np.float32]
"""Shape (h, w), in [0, 1]."""

MIN_PICTURE_PX = 512  # the longer side: below, neither lungs nor caption can be seen
MAX_PICTURE_PX = 1024  # above, a picture costs more to encode and send than it shows
DEFAULT_ALPHA = 0.45  # the radiograph stays readable under the hottest place

RESEARCH = "Research use only"

FLAT_SPREAD = 0.1
"""Largest less smallest value below which no place of a heatmap can be called hot."""

FLAT = "The heatmap is flat: no region stands out."
EMPTY = "The heatmap is empty: nothing in the image speaks for the class."
WITHHELD = "No heatmap is shown: the model was not made for such a picture."


@dataclass(frozen=True)
class Caption:
    """What a picture says about itself.

    ``probability`` is that of the class ``target``, calibrated. ``remarks`` are sentences without
    which the picture would mislead.
    """

    model: str
    version: str
    target: str
    probability: float
    method: str
    headline: str
    remarks: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The text, line by line."""
        return (
            self.headline,
            f"{self.target}: probability {self.probability:.3f}",
            f"{self.model} {self.version}, {self.method}",
            *self.remarks,
            RESEARCH,
        )

    @property
    def plain_lines(self) -> tuple[str, ...]:
        """Text below a picture without a heatmap, without class and number."""
        return (self.headline, *self.remarks, f"{self.model} {self.version}", RESEARCH)


def heatmap_warnings(heatmap: Heatmap) -> tuple[str, ...]:
    """Return a sentence if a heatmap points nowhere."""
    if not heatmap.max() > 0:
        return (EMPTY,)
    return (FLAT,) if heatmap.max() - heatmap.min() < FLAT_SPREAD else ()


def _picture_size(longer_px: int, width: int, height: int) -> tuple[int, int]:
    """Choose the size of a picture from its longer side and the source's aspect ratio.

    Returns:
        Width and height, the longer one within MIN_PICTURE_PX and MAX_PICTURE_PX.
    """
    longer_px = min(MAX_PICTURE_PX, max(MIN_PICTURE_PX, longer_px))
    scale = longer_px / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def to_picture(image: GrayImage, width: int, height: int) -> GrayImage:
    """Resize a radiograph to the size of its picture."""
    size = _picture_size(max(image.shape), width, height)
    if image.shape == size[::-1]:
        return image
    resized = Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(resized)


def enlarge(heatmap: Heatmap, width: int, height: int) -> Heatmap:
    """Interpolate a heatmap bilinearly, within the range of its values."""
    values = np.ascontiguousarray(heatmap, dtype=np.float32)
    resized = Image.fromarray(values).resize((width, height), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized, dtype=np.float32), values.min(), values.max())


def blend(image: GrayImage, heatmap: Heatmap, alpha: float = DEFAULT_ALPHA) -> NDArray[np.uint8]:
    """Lay a heatmap (h, w) over a radiograph (H, W), uint8; returns (H, W, 3), uint8.

    Opacity is proportional to the value, ``alpha`` for 1.
    """
    height, width = image.shape
    values = enlarge(heatmap, width, height)
    opacity = (np.float32(alpha) * values)[..., np.newaxis]
    gray = image[..., np.newaxis].astype(np.float32)
    return np.rint(gray + opacity * (colourise(values) - gray)).astype(np.uint8)


def render_heatmap_png(heatmap: Heatmap, width: int, height: int) -> bytes:
    """Render a heatmap alone to a PNG whose opacity is the value."""
    size = _picture_size(max(width, height), width, height)
    values = enlarge(heatmap, *size)
    opacity = np.rint(values * 255).astype(np.uint8)
    return encode_png(np.dstack([colourise(values), opacity]))


def render_overlay(
    image: GrayImage,
    heatmap: Heatmap | None,
    caption: Caption,
    alpha: float = DEFAULT_ALPHA,
    width: int | None = None,
    height: int | None = None,
) -> NDArray[np.uint8]:
    """Render a radiograph (H, W), uint8, perhaps at a reduced scale, above its caption.

    A heatmap (h, w) in [0, 1] is laid over it; None shows neither it nor a legend. ``width`` and
    ``height`` are those of the source, by default of ``image``.

    Returns:
        Shape (H, W, 3), with the picture in its upper left part.
    """
    shown = to_picture(image, width or image.shape[1], height or image.shape[0])
    if heatmap is None:
        picture = np.dstack([shown] * 3)
        below = render_caption(caption.plain_lines, picture.shape[1], has_legend=False)
    else:
        picture = blend(shown, heatmap, alpha)
        below = render_caption(caption.lines, picture.shape[1])
    canvas = np.empty((len(picture) + len(below), below.shape[1], 3), dtype=np.uint8)
    canvas[: len(picture)] = below[0, 0]
    canvas[: len(picture), : picture.shape[1]] = picture
    canvas[len(picture) :] = below
    return canvas


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a picture (H, W, 3), or (H, W, 4) with opacity."""
    buffer = io.BytesIO()
    # Level 1: the files are a tenth larger and take a quarter of the time.
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
