"""Pictures that the scope gate must reject, made in code.

Half are made from radiographs, half are drawn (outlier exposure: Hendrycks et al., "Deep Anomaly
Detection with Outlier Exposure", ICLR 2019).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from cxr.pixels.image import GrayImage

Rng: TypeAlias = np.random.Generator
Maker: TypeAlias = Callable[[GrayImage, Rng], GrayImage]
"""From one radiograph (S, S), which a drawing ignores but for its size, to an outlier (S, S)."""


def _resized(image: Image.Image, size: int) -> GrayImage:
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR), dtype=np.uint8)


def _scaled(values: NDArray[np.float64]) -> GrayImage:
    low, high = values.min(), values.max()
    return ((values - low) / max(high - low, 1e-9) * 255.0).astype(np.uint8)


def _canvas(size: int, rng: Rng) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
    ground = int(rng.choice([0, 10, 40, 128, 220, 255]))
    image = Image.new("L", (2 * size, 2 * size), ground)
    return image, ImageDraw.Draw(image), ground


def _ellipse(
    pen: ImageDraw.ImageDraw, x: float, y: float, rx: float, ry: float, level: int
) -> None:
    pen.ellipse((x - rx, y - ry, x + rx, y + ry), fill=level)


def inverted(image: GrayImage, rng: Rng) -> GrayImage:
    """Exchange dark and bright."""
    return 255 - image


def on_its_side(image: GrayImage, rng: Rng) -> GrayImage:
    """Turn by a quarter either way."""
    return np.rot90(image, int(rng.choice([1, 3])))


def upside_down(image: GrayImage, rng: Rng) -> GrayImage:
    """Turn by half."""
    return np.rot90(image, 2)


def detail(image: GrayImage, rng: Rng) -> GrayImage:
    """Enlarge a part, a quarter to a half as wide."""
    size = len(image)
    side = int(size * rng.uniform(0.25, 0.5))
    x, y = rng.integers(0, size - side, 2)
    return _resized(Image.fromarray(image[y : y + side, x : x + side]), size)


def half(image: GrayImage, rng: Rng) -> GrayImage:
    """Keep one lung beside the spine, as in a lateral view."""
    middle = len(image) // 2
    part = image[:, :middle] if rng.random() < 0.5 else image[:, middle:]
    return _resized(Image.fromarray(np.ascontiguousarray(part)), len(image))


def shuffled(image: GrayImage, rng: Rng) -> GrayImage:
    """Cut into squares and reassemble wrongly."""
    parts = int(rng.choice([2, 4]))
    side = len(image) // parts
    kept = image[: side * parts, : side * parts]
    tiles = kept.reshape(parts, side, parts, side).swapaxes(1, 2).reshape(-1, side, side)
    grid = tiles[rng.permutation(len(tiles))].reshape(parts, parts, side, side)
    together = np.ascontiguousarray(grid.swapaxes(1, 2).reshape(side * parts, -1))
    return _resized(Image.fromarray(together), len(image))


def sheet(image: GrayImage, rng: Rng) -> GrayImage:
    """Combine several radiographs, or put a small one on a large page."""
    size = len(image)
    page = Image.new("L", (size, size), int(rng.choice([0, 30, 255])))
    columns, rows = ((1, 1), (2, 1), (1, 2), (2, 2), (3, 2))[rng.integers(5)]
    width, height = size // columns, size // rows
    if columns == rows == 1:
        width = height = int(size * rng.uniform(0.25, 0.5))
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    spare = size - width if columns == rows == 1 else 0
    for column in range(columns):
        for row in range(rows):
            x, y = (rng.integers(0, spare + 1) if spare else 0 for _ in range(2))
            page.paste(small, (int(x) + column * width, int(y) + row * height))
    return np.asarray(page)


def blank(image: GrayImage, rng: Rng) -> GrayImage:
    """Draw one grey level with faint noise."""
    level, noise = rng.uniform(0, 255), rng.uniform(0, 4)
    return np.clip(rng.normal(level, noise, image.shape), 0, 255).astype(np.uint8)


def noise(image: GrayImage, rng: Rng) -> GrayImage:
    """Draw white noise."""
    if rng.random() < 0.5:
        return rng.integers(0, 256, image.shape, dtype=np.uint8)
    level, spread = rng.uniform(40, 215), rng.uniform(10, 80)
    return np.clip(rng.normal(level, spread, image.shape), 0, 255).astype(np.uint8)


def clouds(image: GrayImage, rng: Rng) -> GrayImage:
    """Draw noise with the spectrum of natural pictures, 1/f to a random power."""
    frequency = np.hypot(*np.meshgrid(*2 * [np.fft.fftfreq(len(image))])) + 1.0 / len(image)
    spectrum = np.fft.fft2(rng.normal(size=image.shape)) / frequency ** rng.uniform(0.8, 2.5)
    return _scaled(np.real(np.fft.ifft2(spectrum)))


def pattern(image: GrayImage, rng: Rng) -> GrayImage:
    """Draw a gradient, stripes, a chessboard or rings."""
    y, x = np.mgrid[-1.0 : 1.0 : len(image) * 1j, -1.0 : 1.0 : len(image) * 1j]
    angle, count = rng.uniform(0, 2 * np.pi), rng.uniform(2, 25)
    along, across = (x * np.cos(angle + a) + y * np.sin(angle + a) for a in (0.0, np.pi / 2))
    centre = np.hypot(x - rng.uniform(-0.5, 0.5), y - rng.uniform(-0.5, 0.5))
    kind = rng.integers(5)
    if kind == 0:
        return _scaled(along)
    if kind == 1:
        return _scaled(np.sign(np.sin(count * along)))
    if kind == 2:
        return _scaled(np.sign(np.sin(count * along) * np.sin(count * across)))
    if kind == 3:
        return _scaled(np.sin(count * centre))
    return _scaled(np.exp(-((centre / rng.uniform(0.2, 1.0)) ** 2)) * rng.choice([-1.0, 1.0]))


def page_of_text(image: GrayImage, rng: Rng) -> GrayImage:
    """Draw lines of letters."""
    canvas, pen, ground = _canvas(len(image), rng)
    ink = int(np.clip(255 - ground + rng.integers(-30, 30), 0, 255))
    font = ImageFont.load_default(int(rng.choice([12, 16, 24, 40])))
    letters = np.array(list("abcdefghiklmnoprstuvwxyzABCDEFGHIJ 0123456789  .,"))
    line = canvas.height / rng.uniform(8, 34)
    left = rng.uniform(0, 0.2) * canvas.width
    for y in np.arange(line, canvas.height - line, line):
        if rng.random() < 0.85:
            text = "".join(rng.choice(letters, int(rng.integers(5, 80))))
            pen.text((left, float(y)), text, fill=ink, font=font)
    return _resized(canvas, len(image))


def shapes(image: GrayImage, rng: Rng) -> GrayImage:
    """Draw boxes, ellipses, polygons and lines."""
    canvas, pen, _ = _canvas(len(image), rng)
    side = canvas.width
    for _ in range(int(rng.integers(2, 30))):
        level = int(rng.integers(0, 256))
        x, y = rng.uniform(0, side, 2)
        w, h = rng.uniform(0.02, 0.35, 2) * side
        kind = rng.integers(4)
        if kind == 0:
            pen.rectangle((x - w, y - h, x + w, y + h), fill=level)
        elif kind == 1:
            _ellipse(pen, x, y, w, h, level)
        elif kind == 2:
            corners = rng.normal((x, y), (w, h), (int(rng.integers(3, 7)), 2))
            pen.polygon([(float(a), float(b)) for a, b in corners], fill=level)
        else:
            pen.line((x, y, *rng.uniform(0, side, 2)), fill=level, width=int(rng.integers(1, 20)))
    soft = canvas.filter(ImageFilter.GaussianBlur(float(rng.choice([0.0, 1.0, 4.0, 12.0]))))
    return _resized(soft, len(image))


def slice_of_body(image: GrayImage, rng: Rng) -> GrayImage:
    """Draw a round body with organs on black, as a slice of CT or MR."""
    size = len(image)
    canvas = Image.new("L", (2 * size, 2 * size), 0)
    pen = ImageDraw.Draw(canvas)
    x, y = rng.normal(size, 0.08 * size, 2)
    rx, ry = rng.uniform(0.45, 0.95, 2) * size
    for ring, level in ((1.0, rng.integers(60, 256)), (rng.uniform(0.8, 0.97), 90)):
        _ellipse(pen, x, y, rx * ring, ry * ring, int(level))
    for _ in range(int(rng.integers(2, 14))):
        ox, oy = rng.normal(0.0, 0.35, 2)
        w, h = rng.uniform(0.03, 0.3, 2)
        _ellipse(pen, x + ox * rx, y + oy * ry, w * rx, h * ry, int(rng.integers(0, 256)))
    soft = canvas.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 6.0))))
    return _with_grain(_resized(soft, size), rng)


def limb(image: GrayImage, rng: Rng) -> GrayImage:
    """Draw bright shafts in a paler sleeve, as an arm, a leg or a hand."""
    size = len(image)
    ground = int(rng.choice([0, 20, 60, 255]))
    canvas = Image.new("L", (2 * size, 2 * size), ground)
    pen = ImageDraw.Draw(canvas)
    bones = int(rng.integers(1, 6))
    soft = int(rng.integers(60, 150))
    start = rng.uniform(0.3, 1.7, 2) * size
    for layer in ("flesh", "bone", "marrow"):
        state = np.random.default_rng(int(start[0] * 1000))
        for _ in range(bones):
            angle = state.normal(0.0, 0.35) + (np.pi / 2 if start[1] > size else 0.0)
            reach = np.array([np.sin(angle), np.cos(angle)]) * 2.5 * size
            middle = start + state.normal(0, 0.22 * size, 2)
            width = state.uniform(0.06, 0.16) * size
            level, factor = {"flesh": (soft, 3.5), "bone": (230, 1.0), "marrow": (180, 0.5)}[layer]
            ends = (*(middle - reach), *(middle + reach))
            pen.line(ends, fill=level, width=max(1, int(width * factor)))
    blurred = canvas.filter(ImageFilter.GaussianBlur(float(rng.uniform(1.0, 8.0))))
    return _with_grain(_resized(blurred, size), rng)


def _with_grain(image: GrayImage, rng: Rng) -> GrayImage:
    grain = rng.normal(0, rng.uniform(0, 10), image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


FAMILIES: dict[str, Maker] = {
    "inverted": inverted,
    "on its side": on_its_side,
    "upside down": upside_down,
    "detail": detail,
    "half": half,
    "shuffled": shuffled,
    "sheet": sheet,
    "blank": blank,
    "noise": noise,
    "clouds": clouds,
    "pattern": pattern,
    "page of text": page_of_text,
    "shapes": shapes,
    "slice of a body": slice_of_body,
    "limb": limb,
}


def make_outliers(
    family: str, pixels: NDArray[np.uint8], count: int, seed: int
) -> NDArray[np.uint8]:
    """Make outliers (count, 1, S, S), uint8, of one of ``FAMILIES``.

    ``pixels``: Source radiographs, shape (N, 1, S, S), uint8.
    """
    rng = np.random.default_rng([seed, list(FAMILIES).index(family)])
    chosen = pixels[rng.integers(0, len(pixels), count), 0]
    made = [FAMILIES[family](image, rng) for image in chosen]
    return np.ascontiguousarray(np.stack(made)[:, None])
