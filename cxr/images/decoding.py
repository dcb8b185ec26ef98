"""From the bytes of a JPEG, PNG or DICOM file to one radiograph and the model input.

Training, export and the service all decode and resize here. The type is taken from the content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from cxr.dicom import decode as dicom
from cxr.errors import ImageOutOfScopeError, ImageTooLargeError, UnsupportedMediaError
from cxr.images import raster
from cxr.images.png_stream import MAGIC as PNG_MAGIC
from cxr.pixels.image import DEFAULT_MAX_PIXELS, DecodedImage, GrayImage, ModelInput, Window

JPEG_MAGIC = b"\xff\xd8\xff"
DICOM_MAGIC = b"DICM"
DICOM_PREAMBLE_BYTES = 128
SNIFF_BYTES = DICOM_PREAMBLE_BYTES + len(DICOM_MAGIC)
"""Number of leading bytes that :func:`sniff_format` looks at."""

PIXEL_BYTES = 4
"""Memory that decoding may take for each pixel of the largest image, beside the file: an operator
can reckon with ``PIXEL_BYTES * max_pixels`` for each image that is decoded at a time."""

REDUCED_SIDES = 2
"""A JPEG is decoded at a reduced scale that keeps this many times the model input's side: the
result is then within a fraction of a grey level of full size, the probability within 0.01 (see
docs/decisions/0011)."""

NO_MEMORY = (
    "There was not enough memory to read the image. Send a smaller one, or fewer at a time; the "
    "operator can give the service more memory, or lower the number of pixels it accepts."
)


@dataclass(frozen=True)
class DecodeOptions:
    """Limits and scale of decoding.

    Attributes:
        max_pixels: Width x height x frames a header may declare.
        reduce_to_px: Side in pixels that a JPEG decoded at a reduced, cheaper scale keeps; 0
            decodes at full size.
        window: Window for monochrome DICOM instead of its own.
    """

    max_pixels: int = DEFAULT_MAX_PIXELS
    reduce_to_px: int = 448  # twice the networks' input: 0.2 grey levels from full size
    window: Window | None = None

    def verify_pixels(
        self, width: int, height: int, frames: int = 1, bytes_per_pixel: int = PIXEL_BYTES
    ) -> None:
        """Check a declared size against the limit, before anything is allocated for it.

        Encodings that need more than ``PIXEL_BYTES`` a pixel may have fewer pixels.

        Raises:
            ImageTooLargeError: Over the limit.
        """
        most = self.max_pixels * PIXEL_BYTES // max(bytes_per_pixel, PIXEL_BYTES)
        if width * height * frames <= most:
            return
        raise ImageTooLargeError(
            f"The image declares {width} x {height} pixels"
            + (f" in {frames} frames" if frames > 1 else "")
            + f"; at most {most} pixels are accepted"
            + (
                ". Send a smaller image."
                if most == self.max_pixels
                else " in this encoding, which takes more memory than others to decode. Send a "
                "smaller image, or DICOM with uncompressed pixels in grey."
            )
        )


class Preprocessing(BaseModel):
    """How an image becomes a model input: bilinear with antialiasing, straight to a square.

    Travels with the weights, in the manifest. Normalisation is inside the graph.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_px: int = Field(ge=16, le=2048, description="Side S of the square model input.")
    min_side_px: int = Field(ge=1, description="Shortest side an image may have.")


def decode_options(spec: Preprocessing, max_pixels: int = DEFAULT_MAX_PIXELS) -> DecodeOptions:
    """Return the options for images that go into a model input."""
    return DecodeOptions(max_pixels=max_pixels, reduce_to_px=REDUCED_SIDES * spec.size_px)


@contextmanager
def told_as_too_large() -> Iterator[None]:
    """Raise ImageTooLargeError in place of MemoryError."""
    try:
        yield
    except MemoryError:
        raise ImageTooLargeError(NO_MEMORY) from None


def sniff_format(head: bytes) -> str | None:
    """Return ``jpeg``, ``png``, ``dicom`` or None by the first ``SNIFF_BYTES`` bytes of a file."""
    if head.startswith(JPEG_MAGIC):
        return "jpeg"
    if head.startswith(PNG_MAGIC):
        return "png"
    return "dicom" if head[DICOM_PREAMBLE_BYTES:SNIFF_BYTES] == DICOM_MAGIC else None


def decode_image(data: bytes, options: DecodeOptions | None = None) -> DecodedImage:
    """Decode one whole file. Any thread may call it.

    Raises:
        InputError: The file cannot be used; the subclass says why.
    """
    options = options or DecodeOptions()
    kind = sniff_format(data[:SNIFF_BYTES])
    if kind is None:
        raise UnsupportedMediaError(
            "The content is not a JPEG, PNG or DICOM Part 10 file. Send one of these."
        )
    digest = hashlib.sha256(data).hexdigest()
    with told_as_too_large():
        if kind == "dicom":
            return dicom.decode_dicom(data, digest, options.verify_pixels, options.window)
        return raster.decode_raster(data, kind, digest, options.verify_pixels, options.reduce_to_px)


def to_model_input(image: GrayImage, spec: Preprocessing) -> ModelInput:
    """Resize a radiograph (H, W), uint8, to a model input (1, S, S), uint8. Any thread may call it.

    Raises:
        ImageOutOfScopeError: A side is shorter than ``spec.min_side_px``.
    """
    height, width = image.shape
    if min(height, width) < spec.min_side_px:
        raise ImageOutOfScopeError(
            f"The image is {width} x {height} pixels; the model needs at least "
            f"{spec.min_side_px} on each side. Send the original, not a thumbnail.",
            code="too-small",
        )
    size = spec.size_px
    if (height, width) == (size, size):
        return np.array(image)[np.newaxis]
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8)[np.newaxis]
