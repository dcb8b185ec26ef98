"""How alike two heatmaps are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, stats

Maps = NDArray[np.float32]

SSIM_SIDE = 56  # maps are compared as they are looked at, enlarged; 8 times 7 x 7
SSIM_SIGMA = 1.5 * SSIM_SIDE / 28  # of the window: about one cell of the coarsest map
C1, C2 = 0.01**2, 0.03**2  # the constants of Wang et al. for values in [0, 1]


def spearman(first: Maps, second: Maps) -> NDArray[np.float64]:
    """Rank correlation of the cells of each pair of maps, (N,).

    Args:
        first: Shape (N, h, w).
        second: Same shape.

    Returns:
        In [-1, 1]; 0 if either map is even, because an even map orders nothing.
    """
    a, b = _centred_ranks(first), _centred_ranks(second)
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), norm, out=np.zeros_like(norm), where=norm > 0)


def _centred_ranks(maps: Maps) -> NDArray[np.float64]:
    ranks = stats.rankdata(maps.reshape(len(maps), -1), axis=1)
    return ranks - ranks.mean(axis=1, keepdims=True)


def ssim(first: Maps, second: Maps) -> NDArray[np.float64]:
    """Structural similarity of each pair of maps, (N,), with a Gaussian window.

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to
    Structural Similarity", IEEE TIP 2004. Arguments as in :func:`spearman`, values in [0, 1].
    """
    a, b = _enlarged(first), _enlarged(second)
    mean_a, mean_b = _window(a), _window(b)
    var_a, var_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    structure = (2 * covariance + C2) / (var_a + var_b + C2)
    return (luminance * structure).mean(axis=(1, 2))


def _enlarged(maps: Maps) -> NDArray[np.float64]:
    side = (SSIM_SIDE, SSIM_SIDE)
    return np.stack(
        [
            np.asarray(Image.fromarray(m).resize(side, Image.Resampling.BILINEAR), np.float64)
            for m in np.ascontiguousarray(maps, dtype=np.float32)
        ]
    )


def _window(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    return ndimage.gaussian_filter(maps, (0, SSIM_SIGMA, SSIM_SIGMA))
