"""Deletion and insertion: does the hot part of the picture carry the answer?

Deletion replaces blocks of the image by a baseline, hottest first: under a good map the probability
of the explained class falls early. Insertion puts them back: it rises early. The areas depend on
network and baseline as much as on the map, so they are compared with those of random maps.

Source: Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
BMVC 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from cxr.pixels.image import ModelInput

Scorer: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Model inputs (N, 1, S, S), uint8, to probabilities (N, K)."""

BLOCKS = 14  # a side: 16 px at 224, finer than the coarsest heatmap here (7 x 7)
STEPS = 10  # 19 or 20 blocks each
RANDOM_MAPS = 2  # for each image
RANDOM_CELLS = 7  # a side: random maps are as coherent as heatmaps, so they tear no more edges
BLUR = 0.05  # of the image's side, 11 px at 224: no vessel or rib is left, lungs and heart are


@dataclass(frozen=True)
class ImageCurves:
    """Probabilities of the explained class for one image.

    Attributes:
        deletion: Shape (orders, STEPS + 1), from the intact image to the baseline.
        insertion: Same shape, from the baseline to the intact image.
        random: Shape (RANDOM_MAPS, STEPS + 1), deletion by random maps; reversed, these are
            insertions.
    """

    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    random: NDArray[np.float64]


def curves_of(
    image: ModelInput,
    base: ModelInput,
    heatmaps: list[NDArray[np.float32]],
    target: int,
    scorer: Scorer,
    rng: np.random.Generator,
) -> ImageCurves:
    """Delete and insert one image's blocks in the orders of its heatmaps, and at random.

    ``image``: Shape (1, S, S), uint8. ``base``: Same shape, the baseline. ``heatmaps``: Each (h,
    w), in [0, 1].
    """
    noise = rng.random((RANDOM_MAPS, RANDOM_CELLS, RANDOM_CELLS), dtype=np.float32)
    chance = [_heat_order(heatmap, rng) for heatmap in noise]
    by_heat = [_heat_order(heatmap, rng) for heatmap in heatmaps]
    pictures = [image, base]
    for order in [*by_heat, *chance]:
        pictures += _replaced(image, base, order)
    for order in by_heat:
        pictures += _replaced(base, image, order)
    found = scorer(np.stack(pictures))[:, target].astype(np.float64)
    intact, removed = found[:1], found[1:2]
    inner = found[2:].reshape(-1, STEPS - 1)
    downwards = np.stack(
        [np.concatenate([intact, row, removed]) for row in inner[: len(by_heat) + len(chance)]]
    )
    upwards = [
        np.concatenate([removed, row, intact]) for row in inner[len(by_heat) + len(chance) :]
    ]
    return ImageCurves(downwards[: len(by_heat)], np.stack(upwards), downwards[len(by_heat) :])


def area(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the trapezoid area under each curve (..., STEPS + 1), in [0, 1]."""
    return (curves[..., 1:] + curves[..., :-1]).mean(axis=-1) / 2


def blurred(image: ModelInput) -> ModelInput:
    """Return the image without detail.

    Blur keeps brightness and outlines; a grey patch occurs in no radiograph, and its edges alone
    may change the probability.
    """
    smooth = ndimage.gaussian_filter(image[0].astype(np.float32), BLUR * image.shape[1])
    return np.rint(smooth).astype(np.uint8)[np.newaxis]


def _heat_order(heatmap: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int64]:
    heat = Image.fromarray(np.ascontiguousarray(heatmap, dtype=np.float32))
    flat = np.asarray(heat.resize((BLOCKS, BLOCKS), Image.Resampling.BILINEAR)).ravel()
    return np.lexsort((rng.random(flat.size), -flat))


def _replaced(
    image: ModelInput, other: ModelInput, order: NDArray[np.int64]
) -> list[NDArray[np.uint8]]:
    """Return the intermediate steps from an image to the other one."""
    size = image.shape[1]
    row = np.arange(size) * BLOCKS // size
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size)
    ranks = rank[row[:, np.newaxis] * BLOCKS + row]  # (S, S)
    counts = [round(step * order.size / STEPS) for step in range(1, STEPS)]
    return [np.where(ranks < count, other, image) for count in counts]
