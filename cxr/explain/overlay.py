"""Pictures of heatmaps with legend and caption. Any thread may call any function.

Heatmaps are never stretched: 0 is always the lower and 1 the upper end of the colour map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxr.explain.png_writer import write_palette_png
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

MIN_WIDTH_PX = 360  # of the strip, however narrow the picture: short lines can still be read
MIN_TEXT_PX, MAX_TEXT_PX = 16, 24
TEXTS_PER_WIDTH = 36  # text is as large as this part of the strip's width, within its bounds

BACKGROUND = (17, 17, 20)
FOREGROUND = (235, 235, 235)
MUTED = (170, 170, 175)

LEGEND = "evidence for the class"

_INFERNO_HEX = (
    "00000401000501010601010802010a02020c02020e03021004031204031405041706041907051b08051d"
    "09061f0a07220b07240c08260d08290e092b10092d110a30120a32140b34150b37160b39180c3c190c3e"
    "1b0c411c0c431e0c451f0c48210c4a230c4c240c4f260c51280b53290b552b0b572d0b592f0a5b310a5c"
    "320a5e340a5f3609613809623909633b09643d09653e0966400a67420a68440a68450a69470b6a490b6a"
    "4a0c6b4c0c6b4d0d6c4f0d6c510e6c520e6d540f6d550f6d57106e59106e5a116e5c126e5d126e5f136e"
    "61136e62146e64156e65156e67166e69166e6a176e6c186e6d186e6f196e71196e721a6e741a6e751b6e"
    "771c6d781c6d7a1d6d7c1d6d7d1e6d7f1e6c801f6c82206c84206b85216b87216b88226a8a226a8c2369"
    "8d23698f24699025689225689326679526679727669827669a28659b29649d29649f2a63a02a63a22b62"
    "a32c61a52c60a62d60a82e5fa92e5eab2f5ead305dae305cb0315bb1325ab3325ab43359b63458b73557"
    "b93556ba3655bc3754bd3853bf3952c03a51c13a50c33b4fc43c4ec63d4dc73e4cc83f4bca404acb4149"
    "cc4248ce4347cf4446d04545d24644d34743d44842d54a41d74b3fd84c3ed94d3dda4e3cdb503bdd513a"
    "de5238df5337e05536e15635e25734e35933e45a31e55c30e65d2fe75e2ee8602de9612bea632aeb6429"
    "eb6628ec6726ed6925ee6a24ef6c23ef6e21f06f20f1711ff1731df2741cf3761bf37819f47918f57b17"
    "f57d15f67e14f68013f78212f78410f8850ff8870ef8890cf98b0bf98c0af98e09fa9008fa9207fa9407"
    "fb9606fb9706fb9906fb9b06fb9d07fc9f07fca108fca309fca50afca60cfca80dfcaa0ffcac11fcae12"
    "fcb014fcb216fcb418fbb61afbb81dfbba1ffbbc21fbbe23fac026fac228fac42afac62df9c72ff9c932"
    "f9cb35f8cd37f8cf3af7d13df7d340f6d543f6d746f5d949f5db4cf4dd4ff4df53f4e156f3e35af3e55d"
    "f2e661f2e865f2ea69f1ec6df1ed71f1ef75f1f179f2f27df2f482f3f586f3f68af4f88ef5f992f6fa96"
    "f8fb9af9fc9dfafda1fcffa4"
)

INFERNO: NDArray[np.uint8] = np.frombuffer(bytes.fromhex(_INFERNO_HEX), np.uint8).reshape(256, 3)
"""Shape (256, 3): red, green and blue of the values 0 to 1. Not writable.

"inferno" by Nathaniel J. Smith and Stéfan van der Walt, in the public domain (CC0): steady in
lightness, so that it survives grey printing.
"""


@dataclass(frozen=True)
class Caption:
    """What a picture says about itself.

    ``probability`` is that of the class ``target``, calibrated; without ``remarks`` the picture
    would mislead.
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
        """Text below a picture without a heatmap."""
        return (self.headline, *self.remarks, f"{self.model} {self.version}", RESEARCH)


def heatmap_warnings(heatmap: Heatmap) -> tuple[str, ...]:
    """Return a sentence if a heatmap points nowhere."""
    if not heatmap.max() > 0:
        return (EMPTY,)
    return (FLAT,) if heatmap.max() - heatmap.min() < FLAT_SPREAD else ()


def _picture_size(longer_px: int, width: int, height: int) -> tuple[int, int]:
    """Return width and height, the longer within MIN_PICTURE_PX and MAX_PICTURE_PX."""
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
    opacity = Image.fromarray(np.rint(values * np.float32(255 * alpha)).astype(np.uint8))
    below = Image.fromarray(np.ascontiguousarray(image)).convert("RGB")
    return np.asarray(Image.composite(_coloured(values).convert("RGB"), below, opacity))


def render_heatmap_png(heatmap: Heatmap, width: int, height: int) -> bytes:
    """Render a heatmap alone to a PNG with a palette, whose opacity is the value."""
    size = _picture_size(max(width, height), width, height)
    opacity = np.arange(len(INFERNO), dtype=np.uint8)
    return write_palette_png(_steps(enlarge(heatmap, *size)), INFERNO, opacity)


def render_overlay(
    image: GrayImage,
    heatmap: Heatmap | None,
    caption: Caption,
    alpha: float = DEFAULT_ALPHA,
    width: int | None = None,
    height: int | None = None,
) -> NDArray[np.uint8]:
    """Render a radiograph (H, W), uint8, perhaps reduced, above its caption: (H, W, 3).

    A heatmap (h, w) in [0, 1] is laid over it; None shows neither it nor a legend. ``width`` and
    ``height`` are the source's, by default those of ``image``. The picture is in the upper left.
    """
    shown = to_picture(image, width or image.shape[1], height or image.shape[0])
    if heatmap is None:
        picture = np.dstack([shown] * 3)
        below = render_caption(caption.plain_lines, picture.shape[1], has_legend=False)
    else:
        picture = blend(shown, heatmap, alpha)
        below = render_caption(caption.lines, picture.shape[1])
    canvas = np.full((len(picture) + len(below), below.shape[1], 3), BACKGROUND, dtype=np.uint8)
    canvas[: len(picture), : picture.shape[1]] = picture
    canvas[len(picture) :] = below
    return canvas


def render_caption(
    lines: Sequence[str], picture_width: int, *, has_legend: bool = True
) -> NDArray[np.uint8]:
    """Draw a colour bar and wrapped text, (H, W, 3), at least as wide as the picture."""
    width = max(picture_width, MIN_WIDTH_PX)
    size = min(MAX_TEXT_PX, max(MIN_TEXT_PX, width // TEXTS_PER_WIDTH))
    font = _font(size)
    margin, step = size, size * 3 // 2
    broken = [part for line in lines for part in break_line(line, font, width - 2 * margin)]
    text_top = margin + (3 * size if has_legend else 0)
    height = text_top + step * len(broken) + margin
    strip = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(strip)
    if has_legend:
        _draw_legend(strip, draw, font, margin)
    y = text_top
    for line in broken:
        draw.text((margin, y), line, FOREGROUND, font)
        y += step
    return np.asarray(strip)


def _draw_legend(
    strip: Image.Image,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    margin: int,
) -> None:
    size = margin
    left = margin + int(font.getlength("0")) + size // 2
    right = min(strip.width - margin - int(font.getlength("1")) - size // 2, left + 16 * size)
    values = np.linspace(0.0, 1.0, right - left, dtype=np.float32)
    bar = np.repeat(colourise(values)[np.newaxis], size, axis=0)
    strip.paste(Image.fromarray(bar), (left, margin))
    draw.rectangle((left - 1, margin - 1, right, margin + size), outline=MUTED)
    middle = margin + size // 2
    draw.text((margin, middle), "0", FOREGROUND, font, anchor="lm")
    draw.text((right + size // 2, middle), "1", FOREGROUND, font, anchor="lm")
    draw.text((left, margin + size + size // 4), LEGEND, MUTED, font)


def break_line(
    line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> list[str]:
    """Break a line at spaces, and words wider than ``width`` pixels."""
    lines, current = [], ""
    for word in line.split():
        joined = f"{current} {word}".strip()
        if font.getlength(joined) <= width:
            current = joined
            continue
        if current:
            lines.append(current)
        current = ""
        for letter in word:
            if current and font.getlength(current + letter) > width:
                lines.append(current)
                current = ""
            current += letter
    return [*lines, current]


def _steps(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.rint(np.clip(values, 0.0, 1.0) * (len(INFERNO) - 1)).astype(np.uint8)


def _coloured(values: Heatmap) -> Image.Image:
    picture = Image.fromarray(_steps(values))
    picture.putpalette(INFERNO.tobytes())
    return picture


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def colourise(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the colours (..., 3), uint8, of values clipped to [0, 1]."""
    return INFERNO[_steps(values)]
