"""Canny's edges."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cxr.pixels.image import GrayImage

WEAK, STRONG = 0.08, 0.2  # of the steepest place: scikit-image's habit, for eight bits
NEIGHBOURS = np.ones((3, 3), dtype=int)


def find_edges(image: GrayImage, sigma: float = 2.0) -> NDArray[np.bool_]:
    """Find edges (H, W), one pixel wide, of an image (H, W), uint8, smoothed by ``sigma`` pixels.

    The outermost pixels are never edges. Source: Canny, "A Computational Approach to Edge
    Detection", IEEE TPAMI 1986.
    """
    smooth = ndimage.gaussian_filter(image.astype(np.float32), sigma)
    down, right = ndimage.sobel(smooth, axis=0), ndimage.sobel(smooth, axis=1)
    strength = np.hypot(down, right)
    steepest = _is_steepest(strength, down, right)
    limit = strength.max(initial=0.0)
    if limit < 1.0:  # an even picture
        return np.zeros(image.shape, dtype=bool)
    groups, count = ndimage.label(steepest & (strength >= WEAK * limit), NEIGHBOURS)
    strong = ndimage.maximum(strength, groups, np.arange(count + 1)) >= STRONG * limit
    strong[0] = False
    return np.asarray(strong[groups])


def _is_steepest(
    strength: NDArray[np.float32], down: NDArray[np.float32], right: NDArray[np.float32]
) -> NDArray[np.bool_]:
    direction = np.round(np.arctan2(down, right) / (np.pi / 4)).astype(int) % 4
    kept = np.zeros(strength.shape, dtype=bool)
    inner = strength[1:-1, 1:-1]
    for number, (rows, columns) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = np.roll(strength, (-rows, -columns), (0, 1))[1:-1, 1:-1]
        behind = np.roll(strength, (rows, columns), (0, 1))[1:-1, 1:-1]
        # One side strictly, so that of two equal neighbours one is kept.
        best = (inner >= ahead) & (inner > behind)
        kept[1:-1, 1:-1] |= best & (direction[1:-1, 1:-1] == number)
    return kept
