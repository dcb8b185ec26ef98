"""Exact and near duplicates.

Near-duplicates are found by the normalised correlation of 32 px thumbnails less their Gaussian blur
of 2 px, in which all chests are alike: other patients' images of Kermany et al. stay below 0.87 in
99.9 % of cases, and most copies reach more. docs/data.md has the figures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

NEAR = 0.9
SIDE_PX = 32
COARSE_PX = 2.0
BLOCK = 1024  # rows compared at a time: 4 MB for 1,000 images


@dataclass(frozen=True)
class Pair:
    """Two images with nearly the same picture.

    ``second`` is above ``first``; ``correlation`` is from ``NEAR`` to 1; ``mirrored`` if one is the
    other's mirror image.
    """

    first: int
    second: int
    correlation: float
    mirrored: bool


def exact_groups(digests: NDArray[np.str_]) -> list[list[int]]:
    """Return the groups of two or more indices with the same pixels."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        found[str(digest)].append(index)
    return [group for group in found.values() if len(group) > 1]


def near_pairs(
    thumbnails: NDArray[np.uint8], digests: NDArray[np.str_], threshold: float = NEAR
) -> list[Pair]:
    """Find near-duplicates among thumbnails (N, 64, 64), uint8, most alike first.

    Mirrored ones count; only the first of exact duplicates, by ``digests`` (N,), takes part. Memory
    is bounded; time is quadratic: about two seconds of one core for 5,000 images.
    """
    _, first = np.unique(digests, return_index=True)
    kept = np.sort(first)
    vectors = _describe(thumbnails[kept])
    pairs = {
        (a, b): Pair(int(kept[a]), int(kept[b]), correlation, mirrored)
        for mirrored in (True, False)  # as it is, if it is both
        for a, b, correlation in _above(
            vectors, _describe(thumbnails[kept][:, :, ::-1]) if mirrored else vectors, threshold
        )
    }
    return sorted(pairs.values(), key=lambda pair: (-pair.correlation, pair.first, pair.second))


def _describe(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return unit vectors (N, 1024), float32, whose products are correlations, or zeros."""
    count, step = len(thumbnails), thumbnails.shape[1] // SIDE_PX
    small = thumbnails.reshape(count, SIDE_PX, step, SIDE_PX, step).mean((2, 4), dtype=np.float32)
    fine = small - ndimage.gaussian_filter(small, (0, COARSE_PX, COARSE_PX))
    vectors = fine.reshape(count, -1)
    vectors -= vectors.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    even = lengths < 1.0  # of 1,024 differences in grey levels: nothing but rounding
    return np.where(even, 0.0, vectors / np.where(even, 1.0, lengths))


def _above(
    rows: NDArray[np.float32], columns: NDArray[np.float32], threshold: float
) -> Iterator[tuple[int, int, float]]:
    for start in range(0, len(rows), BLOCK):
        products = rows[start : start + BLOCK] @ columns[start:].T
        for a, b in np.argwhere(products >= threshold):
            if a < b:
                yield int(start + a), int(start + b), min(1.0, float(products[a, b]))
