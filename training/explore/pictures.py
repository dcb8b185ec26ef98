"""Figures that show radiographs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cxr.images.decoding import decode_image
from cxr.pixels.image import GrayImage
from training.explore.edges import find_edges
from training.explore.facts import small_copy
from training.explore.findings import Exploration
from training.explore.reading import Collection

SHOWN_PX = 320
PAIRS_SHOWN = 6


class Pictures:
    """Radiographs by name, at most ``SHOWN_PX`` on a side."""

    def __init__(self, collection: Collection) -> None:
        self._paths = {one.image.name: one.image.path for one in collection.listed}

    def picture(self, name: str) -> GrayImage:
        """Read one."""
        return small_copy(decode_image(self._paths[name].read_bytes()).pixels, SHOWN_PX)


def draw_examples(found: Exploration, pictures: Pictures) -> Figure:
    """Draw a row for each class: medoid, similar images, least typical."""
    columns = max(1 + len(one.typical) + len(one.atypical) for one in found.examples)
    figure, grid = _grid(len(found.examples), columns)
    for row, one in zip(grid, found.examples, strict=True):
        shown = [(one.medoid, f"{one.label}: most typical")]
        shown += [(name, "typical") for name in one.typical]
        shown += [(name, "least typical") for name in one.atypical]
        for axes, (name, title) in zip(row, shown, strict=False):
            _show(axes, pictures.picture(name), title)
    return figure


def draw_edges(found: Exploration, pictures: Pictures) -> Figure:
    """Draw each class's most typical image beside its edges."""
    figure, grid = _grid(1, 2 * len(found.examples))
    for number, one in enumerate(found.examples):
        picture = pictures.picture(one.medoid)
        _show(grid[0][2 * number], picture, one.label)
        _show(grid[0][2 * number + 1], 255 - 255 * find_edges(picture).astype(np.uint8), "edges")
    return figure


def draw_lookalikes(found: Exploration, pictures: Pictures) -> Figure:
    """Draw the most similar pairs of different classes."""
    pairs = [
        ((one.first, one.first_label), (one.second, one.second_label)) for one in found.lookalikes
    ]
    return _draw_pairs(pairs, pictures)


def draw_near(found: Exploration, pictures: Pictures) -> Figure:
    """Draw near-duplicates, those across folders or patients first."""
    ordered = sorted(found.near, key=lambda pair: (-pair.crosses_folders, -pair.crosses_patients))
    pairs = [
        (
            (pair.first, f"correlation {pair.correlation:.3f}"),
            (pair.second, "mirrored" if pair.mirrored else ""),
        )
        for pair in ordered[:PAIRS_SHOWN]
    ]
    return _draw_pairs(pairs, pictures)


def _draw_pairs(
    pairs: Sequence[tuple[tuple[str, str], tuple[str, str]]], pictures: Pictures
) -> Figure:
    rows = (len(pairs) + 2) // 3
    figure, grid = _grid(rows, 6)
    for number, pair in enumerate(pairs):
        for side, (name, title) in enumerate(pair):
            axes = grid[number // 3][2 * (number % 3) + side]
            _show(axes, pictures.picture(name), title, name.rpartition("/")[2])
    return figure


def _grid(rows: int, columns: int) -> tuple[Figure, NDArray[np.object_]]:
    figure = Figure(figsize=(10.5, 0.4 + rows * min(2.6, 11.5 / columns)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, grid


def _show(axes: Axes, picture: GrayImage, title: str, name: str = "") -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=8, loc="left")
    if name:
        axes.text(0, -0.03, name, transform=axes.transAxes, fontsize=6, va="top", color="#566474")
