"""Drawn radiographs that differ as those of different people do."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from cxr.pixels.image import GrayImage
from export.phantom import draw_phantom

GRAIN_PX = 4.0
DEPTH = 20.0  # grey levels


def make_radiograph(seed: int, opacity: float = 0.0) -> GrayImage:
    """Draw one of 160 x 128 pixels with anatomy of its own.

    Phantoms alone are one drawing with small shifts: for pictures they are near-duplicates.
    """
    image = draw_phantom(seed, opacity)[::4, ::4].astype(float)
    rng = np.random.default_rng([seed, 7])
    anatomy = ndimage.gaussian_filter(rng.normal(size=image.shape), GRAIN_PX)
    return np.clip(image + DEPTH * anatomy / anatomy.std(), 0, 255).astype(np.uint8)
