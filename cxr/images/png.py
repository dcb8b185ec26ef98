"""PNG files of every colour type and depth to grey images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.images.png_stream import (
    GREY,
    GREY_ALPHA,
    INDEXED,
    RGB_ALPHA,
    PngFile,
    Strip,
    read_png,
    read_strips,
)
from cxr.pixels.image import GrayImage

LUMA = tuple(map(np.uint32, (19595, 38470, 7471)))  # ITU-R 601-2 of 65,536, as Pillow's
ROWS_AT_ONCE = 64  # so that what is computed in floats stays small
SAMPLED = slice(None, None, 4)  # of rows and columns, for what is a mean anyway
LOOKED_AT_ROWS = 256  # enough to tell noise from a picture
SWAPPED = (
    2.0  # times rougher: sound radiographs of 9 to 16 bits stay below 1.8, swapped ones above 2.3
)
LOW_BYTE_FIRST = (
    "The 16-bit samples of the PNG file are stored with the low byte first, against the standard; "
    "they were read so."
)
OPAQUE, DEEP_WHITE = 255, 65535


@dataclass(frozen=True)
class DecodedPng:
    """Pixels (H, W), uint8, chroma, Exif block, perhaps empty, and notes for the sender."""

    pixels: GrayImage
    chroma: float
    exif: bytes
    notes: tuple[str, ...]


def decode_png(data: bytes, verify_pixels: Callable[[int, int], None]) -> DecodedPng:
    """Decode a PNG file, in at most 3 bytes a pixel and a few strips of 1 MiB.

    16-bit pictures are scaled by the smallest power of two that holds their maximum.

    Raises:
        UnreadableImageError: Truncated or corrupt.
        ImageTooLargeError: Too wide, in too many pieces, or rejected by ``verify_pixels``.
    """
    png = read_png(data)
    verify_pixels(png.width, png.height)
    if png.depth < 16:
        picture: _Picture = _Shallow(png)
        _take_all(picture, png)
    else:
        deep = picture = _Deep(png)
        _take_all(deep, png)
        if deep.is_low_byte_first:
            picture = _LowByteFirst(png)
            _take_all(picture, png)
    pixels, notes = picture.finish()
    return DecodedPng(pixels, picture.chroma, png.exif, notes)


def _take_all(picture: _Picture, png: PngFile) -> None:
    for strip in read_strips(png):
        picture.take(strip)


class _Picture:
    def __init__(self, png: PngFile) -> None:
        self._png = png
        self._spread, self._sampled = 0.0, 0

    def take(self, strip: Strip) -> None:
        raise NotImplementedError

    def finish(self) -> tuple[GrayImage, tuple[str, ...]]:
        raise NotImplementedError

    @property
    def chroma(self) -> float:
        white = 65535 if self._png.depth == 16 else 255
        return self._spread / max(self._sampled, 1) * 255.0 / white

    def _measure(self, colours: NDArray[Any]) -> None:
        sampled = colours[SAMPLED, SAMPLED].astype(np.int32)
        self._spread += float((sampled.max(axis=-1) - sampled.min(axis=-1)).sum())
        self._sampled += sampled.shape[0] * sampled.shape[1]

    def _alpha(self, samples: NDArray[Any]) -> NDArray[Any] | None:
        if self._png.colour in (GREY_ALPHA, RGB_ALPHA):
            return samples[..., -1]
        key = np.frombuffer(self._png.transparency, dtype=">u2")
        if self._png.colour == INDEXED or len(key) != samples.shape[-1]:
            return None
        return np.where((samples == key).all(axis=-1), 0, np.iinfo(samples.dtype).max)

    def _gray(self, samples: NDArray[Any]) -> NDArray[Any]:
        if self._png.colour in (GREY, GREY_ALPHA):
            return samples[..., 0]
        self._measure(samples[..., :3])
        return _luma(samples[..., :3])


class _Shallow(_Picture):
    def __init__(self, png: PngFile) -> None:
        super().__init__(png)
        self._pixels = np.empty((png.height, png.width), dtype=np.uint8)
        self._palette, self._opacity = _palette_of(png)

    def take(self, strip: Strip) -> None:
        samples = strip.samples
        alpha: NDArray[Any] | None
        if self._png.colour == INDEXED:
            indices = samples[..., 0]
            self._measure(self._palette[indices])
            gray, alpha = _luma(self._palette)[indices], self._opacity[indices]
        else:
            gray, alpha = self._gray(samples), self._alpha(samples)
            if self._png.depth < 8:
                gray = gray * np.uint8(255 // ((1 << self._png.depth) - 1))
        if alpha is not None:
            gray = (gray.astype(np.uint32) * alpha + OPAQUE // 2) // OPAQUE
        self._pixels[strip.rows, strip.columns] = gray

    def finish(self) -> tuple[GrayImage, tuple[str, ...]]:
        return self._pixels, ()


class _Deep(_Picture):
    """A picture of sixteen bits, not all of which may be used."""

    def __init__(self, png: PngFile) -> None:
        super().__init__(png)
        self._values = np.empty((png.height, png.width), dtype=np.uint16)
        self._peak = 0
        self._common_alpha: int | None = None  # of all strips so far
        self._highest_alpha: int | None = None  # None as long as alpha is the same everywhere

    def take(self, strip: Strip) -> None:
        samples = strip.samples
        colours = samples.shape[-1] - (self._png.colour in (GREY_ALPHA, RGB_ALPHA))
        self._peak = max(self._peak, int(samples[..., :colours].max()))
        values, alpha = self._gray(samples), self._alpha(samples)
        if alpha is not None:
            values = self._laid_on_black(values, alpha)
        self._values[strip.rows, strip.columns] = values

    def _laid_on_black(self, values: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
        if self._common_alpha is None:
            self._common_alpha = int(alpha.flat[0])
        if self._highest_alpha is None:
            if (alpha == self._common_alpha).all():
                return values
            self._highest_alpha = self._common_alpha
            for rows in _row_blocks(self._values):
                rows[:] = _multiplied(rows, self._common_alpha)
        self._highest_alpha = max(self._highest_alpha, int(alpha.max()))
        return _multiplied(values, alpha)

    def finish(self) -> tuple[GrayImage, tuple[str, ...]]:
        bits = max(8, self._peak.bit_length())
        white = 2.0**bits - 1.0
        if self._highest_alpha is not None:  # it may use as few bits as the colours
            white *= ((1 << self._highest_alpha.bit_length()) - 1) / DEEP_WHITE
        elif self._common_alpha == 0:
            self._values[:] = 0
        pixels = np.empty(self._values.shape, dtype=np.uint8)
        for rows, values in zip(_row_blocks(pixels), _row_blocks(self._values), strict=True):
            scaled = values * np.float32(255.0 / white) + np.float32(0.5)
            rows[:] = np.minimum(scaled, 255.0)
        return pixels, (f"Scaled from {bits} to 8 bits per pixel.",)

    @property
    def is_low_byte_first(self) -> bool:
        """Whether the samples are in the wrong byte order: then the high byte is noise."""
        sampled = self._values[:: max(1, len(self._values) // LOOKED_AT_ROWS)]
        high, low = _roughness(sampled >> 8), _roughness(sampled & 0xFF)
        return self._highest_alpha is None and high > SWAPPED * low


class _LowByteFirst(_Deep):
    """Samples in the byte order that the standard does not have."""

    def take(self, strip: Strip) -> None:
        super().take(replace(strip, samples=strip.samples.byteswap()))

    def finish(self) -> tuple[GrayImage, tuple[str, ...]]:
        pixels, notes = super().finish()
        return pixels, (*notes, LOW_BYTE_FIRST)


def _roughness(values: NDArray[Any]) -> float:
    """Return the mean step between neighbours of a row, in standard deviations."""
    deviation = float(values.std())
    if values.shape[1] < 2 or deviation == 0.0:
        return np.nan
    steps = np.abs(np.diff(values.astype(np.int32), axis=1))
    return float(steps.mean()) / deviation


def _row_blocks(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (values[top : top + ROWS_AT_ONCE] for top in range(0, len(values), ROWS_AT_ONCE))


def _multiplied(values: NDArray[np.uint16], alpha: NDArray[Any] | int) -> NDArray[np.uint16]:
    product = values.astype(np.uint32) * np.asarray(alpha, dtype=np.uint32)
    return ((product + DEEP_WHITE // 2) // DEEP_WHITE).astype(np.uint16)


def _luma(colours: NDArray[Any]) -> NDArray[Any]:
    total = np.full(colours.shape[:-1], 1 << 15, dtype=np.uint32)
    for channel, weight in enumerate(LUMA):
        total += colours[..., channel] * weight
    return (total >> 16).astype(colours.dtype)


def _palette_of(png: PngFile) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    entries = np.frombuffer(png.palette[: len(png.palette) // 3 * 3], dtype=np.uint8)
    palette, opacity = np.zeros((256, 3), np.uint8), np.full(256, OPAQUE, np.uint8)
    palette[: len(entries) // 3] = entries.reshape(-1, 3)[:256]
    stated = np.frombuffer(png.transparency, dtype=np.uint8)[:256]
    opacity[: len(stated)] = stated
    return palette, opacity
