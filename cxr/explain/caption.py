"""The strip below a picture: colour bar and text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cxr.explain.colours import colourise

MIN_WIDTH_PX = 360  # of the strip, however narrow the picture: short lines can still be read
MIN_TEXT_PX, MAX_TEXT_PX = 16, 24
TEXTS_PER_WIDTH = 36  # text is as large as this part of the strip's width, within its bounds

BACKGROUND = (17, 17, 20)
FOREGROUND = (235, 235, 235)
MUTED = (170, 170, 175)

LEGEND = "evidence for the class"


def render_caption(
    lines: Sequence[str], picture_width: int, *, has_legend: bool = True
) -> NDArray[np.uint8]:
    """Draw a colour bar and wrapped text, (H, W, 3), at least as wide as the picture."""
    width = max(picture_width, MIN_WIDTH_PX)
    size = min(MAX_TEXT_PX, max(MIN_TEXT_PX, width // TEXTS_PER_WIDTH))
    font = ImageFont.load_default(size)
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
