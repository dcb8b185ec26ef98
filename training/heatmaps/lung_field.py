"""Estimate the lung field by registering a drawn pair of lungs, and the heat inside it.

Of many positions and sizes the pair wins whose inside is darker than its rim, against the local
brightness. An opaque lung is covered too, because both sides have one shape; a threshold on
darkness would miss it.

Limits: both lungs have the same size and stand upright; costophrenic angles and apices are cut;
grey air beside the body can widen the shapes; nothing reports that no pair fits.
"""

from __future__ import annotations

from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from cxr.explain.evidence import LungShare
from cxr.pixels.image import GrayImage
from training.report.bootstrap import estimate_mean

GRID = 48  # cells a side: a lung's border is then met to about 2 % of the image
MIDLINES = (0.44, 0.47, 0.50, 0.53, 0.56)
HALF_GAPS = (0.04, 0.065, 0.09)  # from the midline to a lung
CENTRES = (0.40, 0.44, 0.48, 0.52, 0.56)
HALF_WIDTHS = (0.10, 0.12, 0.14, 0.16, 0.18)
HALF_HEIGHTS = (0.24, 0.28, 0.32, 0.36, 0.40)
MAX_REACH = 0.42  # from the midline to a lung's outer side: beyond lie arms and air
TILT, TAPER, SQUARENESS = 0.06, 0.25, 2.5  # drawn by eye on training images
RIM_CELLS = 3
SIZE_REWARD = 0.4  # with none, small shapes in the darkest spot win; with 1, the largest ones
AIR = 0.15  # share of the grey range; air beside the body is dark and touches the border


class _Templates(NamedTuple):
    masks: NDArray[np.bool_]  # (T, GRID * GRID)
    weights: NDArray[np.float32]  # same shape: inside less rim


def lung_field(image: GrayImage) -> NDArray[np.bool_]:
    """Estimate the lung field of a frontal chest radiograph.

    Args:
        image: Shape (H, W), uint8, bone bright.

    Returns:
        Shape (GRID, GRID), over the whole image.
    """
    templates = _templates()
    best = int((templates.weights @ _darkness(image).ravel()).argmax())
    return templates.masks[best].reshape(GRID, GRID)


@cache
def _templates() -> _Templates:
    shapes = product(MIDLINES, HALF_GAPS, CENTRES, HALF_WIDTHS, HALF_HEIGHTS)
    masks = np.stack([_draw(*s) for s in shapes if s[1] + 2 * s[3] <= MAX_REACH])
    square = np.ones((1, 3, 3), dtype=bool)
    rims = ndimage.binary_dilation(masks, square, RIM_CELLS) & ~masks
    masks, rims = masks.reshape(len(masks), -1), rims.reshape(len(masks), -1)
    area = masks.mean(axis=1, keepdims=True)
    contrast = masks / masks.sum(axis=1, keepdims=True) - rims / rims.sum(axis=1, keepdims=True)
    return _Templates(masks, (contrast * area**SIZE_REWARD).astype(np.float32))


def _draw(
    midline: float, half_gap: float, centre: float, half_width: float, half_height: float
) -> NDArray[np.bool_]:
    y, x = (np.mgrid[0:GRID, 0:GRID] + 0.5) / GRID
    along = (y - centre) / half_height
    mask = np.zeros((GRID, GRID), dtype=bool)
    for side in (-1, 1):
        middle = midline + side * (half_gap + half_width + TILT * along)
        across = np.abs(x - middle) / np.maximum(half_width * (1 + TAPER * along), 1e-6)
        mask |= across**SQUARENESS + np.abs(along) ** SQUARENESS < 1
    return mask


def _darkness(image: GrayImage) -> NDArray[np.float32]:
    """Return how much darker each cell is than its surroundings, in local deviations."""
    small = Image.fromarray(image).resize((GRID, GRID), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.float64)
    low, high = np.percentile(grey, (2, 98))
    grey = np.clip((grey - low) / max(high - low, 1.0), 0, 1)
    parts, _ = ndimage.label(grey < AIR)
    at_border = np.unique(np.concatenate([parts[0], parts[:, 0], parts[:, -1]]))
    air = np.isin(parts, at_border[at_border > 0])
    body = ~ndimage.binary_dilation(air)
    inside = ndimage.gaussian_filter(body.astype(np.float64), 0.12 * GRID)
    around = ndimage.gaussian_filter(grey * body, 0.12 * GRID) / np.maximum(inside, 1e-6)
    darker = np.where(body, around - grey, -0.05)  # air counts as a little brighter than the body
    deviation = np.sqrt(ndimage.gaussian_filter(darker**2, 0.15 * GRID)) + 0.02
    return np.clip(darker / deviation, -1.5, 1.5).astype(np.float32)


def measure_lung_share(
    maps: NDArray[np.float32], fields: NDArray[np.bool_], patients: NDArray[np.str_], seed: int
) -> LungShare:
    """Measure the share of one method's heat inside the lung field, and by chance.

    Args:
        maps: Shape (N, h, w), in [0, 1].
        fields: Shape (N, GRID, GRID).
        patients: Shape (N,).
        seed: For shuffling and resampling.
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
    """Return the share of each map's heat inside the field, (N,); NaN for a map of zeros."""
    size = (GRID, GRID)
    heat = np.stack(
        [np.asarray(Image.fromarray(m).resize(size, Image.Resampling.BILINEAR)) for m in maps]
    ).astype(np.float64)
    total = heat.sum(axis=(1, 2))
    inside = (heat * fields).sum(axis=(1, 2))
    return np.divide(inside, total, out=np.full_like(total, np.nan), where=total > 0)
