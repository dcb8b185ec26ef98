"""The figures of the results page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cxr.bundles.manifest import WEIGHTS_NAME
from cxr.bundles.run import EpochRecord, Run
from cxr.data.external import is_table, name_of_table
from cxr.data.split import SPLIT_NAME, read_split_file, select_images
from cxr.explain.grad_cam import GradCam
from cxr.explain.overlay import INFERNO
from cxr.networks.served import served_network
from training.data.samples import load_samples
from training.heatmaps.explaining import choose_evenly, heatmaps_of
from training.report.figures import draw_curves

SPLIT = "internal-test"
Maps = dict[str, NDArray[np.float32]]
"""Mean heatmap of each class, (h, w) in [0, 1]."""


def write_svg(figure: Figure, path: Path, salt: str) -> None:
    """Write a figure, the same bytes for the same curves.

    Args:
        figure: What is drawn.
        path: File to write.
        salt: Of the identifiers in it.
    """
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(path, metadata={"Date": None})


def write_curves(name: str, curves: Sequence[EpochRecord], folder: Path) -> None:
    """Write a run's curves as NAME.svg."""
    write_svg(draw_curves(curves), folder / f"{name}.svg", name)


def mean_heatmaps(path: Path, run: Run, data: Sequence[Path], images: int) -> Maps:
    """Average the heatmaps of each class's images, each explained for its own class.

    Args:
        path: The run directory.
        run: What it holds.
        data: The data sets that were split.
        images: How many, evenly over the classes.
    """
    task = run.task.as_task()
    names = [row.name for row in read_split_file(path / SPLIT_NAME)]
    # A run of one population knows nothing of the other's list, whose classes may be no task of it.
    split = [
        one
        for one in data
        if not is_table(one) or any(name.startswith(f"{name_of_table(one)}/") for name in names)
    ]
    listed = select_images(split, SPLIT, task, path / SPLIT_NAME)
    samples = load_samples(choose_evenly(listed, images, 0), run.preprocessing, task, quiet=True)
    explainer = GradCam(served_network(path / WEIGHTS_NAME, run))
    found = heatmaps_of(explainer, samples.pixels, list(samples.labels), "gradcam")
    return {
        name: found[samples.labels == index].mean(axis=0) for index, name in enumerate(task.classes)
    }


def draw_heatmaps(maps: dict[str, Maps]) -> Figure:
    """Draw a row for each network, a column for each of its classes."""
    columns = max(len(of_run) for of_run in maps.values())
    figure = Figure(figsize=(2.0 * columns + 1.2, 1.9 * len(maps)), layout="constrained")
    grid = figure.subplots(len(maps), columns, squeeze=False)
    for line, (name, of_run) in zip(grid, maps.items(), strict=True):
        for axes in line:
            axes.set_axis_off()
        for axes, (label, values) in zip(line, of_run.items(), strict=False):
            axes.imshow(values, ListedColormap(INFERNO / 255.0), vmin=0, vmax=1)
            axes.set_title(f"{name}: {label}", fontsize=7)
    return figure
