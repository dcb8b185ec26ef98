"""Share of the heat inside the lung field, against what chance gives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.explain.evidence import LungShare
from training.heatmaps.lung_field import GRID
from training.report.bootstrap import estimate_mean


def measure_lung_share(
    maps: NDArray[np.float32], fields: NDArray[np.bool_], patients: NDArray[np.str_], seed: int
) -> LungShare:
    """Measure one method's maps.

    Args:
        maps: Shape (N, h, w), in [0, 1].
        fields: Shape (N, GRID, GRID), of the same images.
        patients: Shape (N,), pseudonyms.
        seed: Of the shuffling and the resampling.
    """
    rng = np.random.default_rng(seed)
    shuffled = np.stack([_shuffled(heatmap, rng) for heatmap in maps])
    heat, chance = _share(maps, fields), _share(shuffled, fields)
    return LungShare(
        heat=estimate_mean(heat, patients, seed),
        shuffled=estimate_mean(chance, patients, seed),
        ratio=estimate_mean(heat / fields.mean(axis=(1, 2)), patients, seed),
        even_maps=int(np.isnan(heat).sum()),
    )


def _shuffled(heatmap: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.permutation(heatmap.ravel()).reshape(heatmap.shape)


def _share(maps: NDArray[np.float32], fields: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of each map's heat inside the field, (N,); not a number for a map of zeros."""
    size = (GRID, GRID)
    heat = np.stack(
        [np.asarray(Image.fromarray(m).resize(size, Image.Resampling.BILINEAR)) for m in maps]
    ).astype(np.float64)
    total = heat.sum(axis=(1, 2))
    inside = (heat * fields).sum(axis=(1, 2))
    return np.divide(inside, total, out=np.full_like(total, np.nan), where=total > 0)
