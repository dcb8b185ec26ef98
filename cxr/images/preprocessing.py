"""From a radiograph to what the network takes: the one resize."""

from __future__ import annotations

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from cxr.errors import ImageOutOfScopeError
from cxr.images.decoding import DEFAULT_MAX_PIXELS, DecodeOptions
from cxr.pixels.image import GrayImage, ModelInput

REDUCED_SIDES = 2
"""A JPEG is decoded at a reduced scale that keeps this many times the model input's side: the
result is then within a fraction of a grey level of full size, the probability within 0.01 (see
docs/decisions/0011)."""


class Preprocessing(BaseModel):
    """How an image becomes a model input. Travels with the weights, in the manifest.

    The method is fixed: bilinear with antialiasing, straight to a square, as the networks
    were trained. Normalisation is inside the graph.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_px: int = Field(ge=16, le=2048, description="Side S of the square model input.")
    min_side_px: int = Field(ge=1, description="Shortest side an image may have.")


def decode_options(spec: Preprocessing, max_pixels: int = DEFAULT_MAX_PIXELS) -> DecodeOptions:
    """Give how an image is decoded that goes into a model input.

    Training, export and the service all decode with these, or the reduced scale would differ.

    Args:
        spec: Preprocessing section of the bundle's manifest.
        max_pixels: Most pixels a header may declare.
    """
    return DecodeOptions(max_pixels=max_pixels, reduce_to_px=REDUCED_SIDES * spec.size_px)


def to_model_input(image: GrayImage, spec: Preprocessing) -> ModelInput:
    """Resize one radiograph to the network's input.

    Training, export and the service all call this and nothing else resizes, so the
    network is served what it was trained on. Any thread may call it.

    Args:
        image: Shape (H, W), uint8, bone bright (MONOCHROME2 sense).
        spec: Preprocessing section of the bundle's manifest.

    Returns:
        Shape (1, S, S), uint8, S = ``spec.size_px``.

    Raises:
        ImageOutOfScopeError: A side is shorter than ``spec.min_side_px``.
    """
    height, width = image.shape
    if min(height, width) < spec.min_side_px:
        raise ImageOutOfScopeError(
            f"The image is {width} x {height} pixels; the model needs at least "
            f"{spec.min_side_px} on each side. Send the original, not a thumbnail."
        )
    size = spec.size_px
    if (height, width) == (size, size):
        return np.array(image)[np.newaxis]
    resized = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.uint8)[np.newaxis]
