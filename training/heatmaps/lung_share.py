"""Measure how much of the heat lies inside the lungs, and where it peaks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from cxr.explain.evidence import LungShare, Pointing
from training.fit.segmenter import SIDE_PX
from training.report.bootstrap import estimate_mean

BORDER = SIDE_PX // 56
"""Tolerance at the lungs' border, in cells of the mask: 2 % of the side."""


def measure_lung_share(
    maps: NDArray[np.float32], fields: NDArray[np.bool_], patients: NDArray[np.str_], seed: int
) -> LungShare:
    """Measure one method's heatmaps.

    Args:
        maps: Shape (N, h, w), in [0, 1].
        fields: Lungs, (N, SIDE_PX, SIDE_PX).
        patients: Shape (N,).
        seed: For shuffling and resampling.
    """
    rng = np.random.default_rng(seed)
    shuffled = np.stack([_shuffled(heatmap, rng) for heatmap in maps])
    heat, chance = _share(maps, fields), _share(shuffled, fields)
    square = np.ones((1, 3, 3), dtype=bool)
    near = ndimage.binary_dilation(fields, square, BORDER)
    missed = np.where(np.isnan(heat), np.nan, ~_at_peak(maps, near))
    area = fields.mean(axis=(1, 2))
    ratio = np.divide(heat, area, out=np.full_like(heat, np.nan), where=area > 0)
    return LungShare(
        heat=estimate_mean(heat, patients, seed),
        shuffled=estimate_mean(chance, patients, seed),
        ratio=estimate_mean(ratio, patients, seed),
        peaks_outside=estimate_mean(missed, patients, seed),
        even_maps=int(np.isnan(heat).sum()),
    )


def measure_pointing(
    maps: NDArray[np.float32], regions: NDArray[np.bool_], called: NDArray[np.bool_], seed: int
) -> Pointing:
    """Play the pointing game: does the heat peak in the region of the finding?

    Source: Zhang et al., "Top-Down Neural Attention by Excitation Backprop", ECCV 2016.

    Args:
        maps: Shape (N, h, w), in [0, 1].
        regions: Where the finding is, (N, SIDE_PX, SIDE_PX).
        called: Whether the network calls the image positive, (N,).
        seed: For resampling.
    """
    hit = _at_peak(maps, regions)
    names = np.arange(len(maps)).astype(str)
    return Pointing(
        hits=estimate_mean(hit, names, seed),
        hits_called=estimate_mean(hit[called], names[called], seed),
        by_chance=estimate_mean(regions.mean(axis=(1, 2)), names, seed),
    )


def _shuffled(heatmap: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.permutation(heatmap.ravel()).reshape(heatmap.shape)


def _enlarged(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    side = (SIDE_PX, SIDE_PX)
    return np.stack(
        [np.asarray(Image.fromarray(m).resize(side, Image.Resampling.BILINEAR)) for m in maps]
    ).astype(np.float64)


def _at_peak(maps: NDArray[np.float32], fields: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return whether each field holds the peak of its map, (N,)."""
    peaks = _enlarged(maps).reshape(len(maps), -1).argmax(axis=1)
    return np.asarray(fields.reshape(len(maps), -1)[np.arange(len(maps)), peaks])


def _share(maps: NDArray[np.float32], fields: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the share of each map's heat inside the field, (N,); NaN for a map of zeros."""
    heat = _enlarged(maps)
    total = heat.sum(axis=(1, 2))
    inside = (heat * fields).sum(axis=(1, 2))
    return np.divide(inside, total, out=np.full_like(total, np.nan), where=total > 0)
