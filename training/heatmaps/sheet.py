"""A sheet of radiographs with their heatmaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

from cxr.bundles.manifest import WEIGHTS_NAME
from cxr.bundles.methods import Method
from cxr.bundles.run import Run, open_run
from cxr.data.dataset import DataSets, LabelledImage
from cxr.data.split import SPLIT_NAME, select_images
from cxr.errors import DataError, InputError, OutputError, RunError
from cxr.explain.grad_cam import GradCam
from cxr.explain.overlay import DEFAULT_ALPHA, INFERNO, Heatmap, blend, to_picture
from cxr.images.decoding import decode_image, decode_options, to_model_input
from cxr.networks.served import served_network
from cxr.pixels.image import DecodedImage, GrayImage
from training.device import Compute
from training.heatmaps.explaining import BATCH, choose_evenly
from training.reliability.calibrate import probabilities_of
from training.report.page import render_png

PAIRS_A_ROW = 4
CELL_INCHES = 1.9
LINE_INCHES = 0.3  # the text above a picture
MIN_WIDTH_INCHES = 7.0  # a sheet of one pair must still hold its title
PNG_START = b"\x89PNG"


@dataclass(frozen=True)
class Shown:
    """One image of the sheet."""

    picture: GrayImage
    heatmap: Heatmap
    label: str
    probability: float


@dataclass(frozen=True)
class SheetPlan:
    """What to show.

    Attributes:
        split: As for ``python -m training evaluate``.
        target: The explained class; None for the finding's first.
    """

    split: str
    n: int
    method: Method
    target: str | None = None
    seed: int = 0


def write_sheet(
    run_path: Path, data: DataSets, plan: SheetPlan, out: Path, compute: Compute
) -> Path:
    """Explain images of a split and write them to a PNG file, in float32.

    An older PNG file is replaced.

    Raises:
        RunError: The run is missing or damaged, or lacks the class.
        DataError: The images are not usable.
        OutputError: ``out`` is something else.
    """
    _verify_png(out)
    run = open_run(run_path)
    task = run.task.as_task()
    target = plan.target or task.positive_classes[0]
    if target not in task.classes:
        raise RunError(f"Unknown class {target!r}: the run has {', '.join(task.classes)}.")
    listed = select_images(data, plan.split, task, run_path / SPLIT_NAME)
    chosen = choose_evenly(listed, plan.n, plan.seed)
    shown = _explain(run, run_path, chosen, target, plan.method, compute)
    title = f"{run.name} {run.version}, {plan.method} for {target}, {plan.split}. Research use only"
    png = render_png(draw_sheet(shown, title, target))
    out.parent.mkdir(parents=True, exist_ok=True)
    staged = out.with_name(f".{out.name}.new")
    staged.write_bytes(png)
    staged.replace(out)
    return out


def _verify_png(out: Path) -> None:
    if not out.exists():
        return
    if out.is_file():
        with out.open("rb") as file:
            if file.read(len(PNG_START)) == PNG_START:
                return
    raise OutputError(
        f"{out} exists and is not a PNG file; it was left alone. Choose another --out."
    )


def _explain(
    run: Run,
    run_path: Path,
    chosen: Sequence[LabelledImage],
    target: str,
    method: Method,
    compute: Compute,
) -> list[Shown]:
    decoded = [_decode(image, run) for image in chosen]
    inputs = np.stack([to_model_input(one.pixels, run.preprocessing) for one in decoded])
    index = run.task.classes.index(target)
    explainer = GradCam(served_network(run_path / WEIGHTS_NAME, run), device=compute.device)
    shown = []
    for start in range(0, len(inputs), BATCH):
        batch = inputs[start : start + BATCH]
        found = explainer.explain(batch, [index] * len(batch), [method] * len(batch))
        probabilities = probabilities_of(found.logits, run.calibration.temperature)[:, index]
        for i, heatmap in enumerate(found.values):
            one = decoded[start + i]
            picture = to_picture(one.pixels, one.width, one.height)
            label = chosen[start + i].label
            shown.append(Shown(picture, heatmap, label, float(probabilities[i])))
    return shown


def _decode(image: LabelledImage, run: Run) -> DecodedImage:
    try:
        return decode_image(image.path.read_bytes(), decode_options(run.preprocessing))
    except InputError as error:
        raise DataError(f"{image.name}: {error}") from None


def draw_sheet(shown: Sequence[Shown], title: str, target: str) -> Figure:
    """Draw originals and overlays side by side, each class from a new row, with a legend."""
    rows = [
        of_class[start : start + PAIRS_A_ROW]
        for label in dict.fromkeys(one.label for one in shown)
        for of_class in [[one for one in shown if one.label == label]]
        for start in range(0, len(of_class), PAIRS_A_ROW)
    ]
    columns = max(len(row) for row in rows)
    heights = [max(_aspect(one) for one in row) * CELL_INCHES + LINE_INCHES for row in rows]
    width = max(MIN_WIDTH_INCHES, 2 * CELL_INCHES * columns + 1.0)
    figure = Figure(figsize=(width, sum(heights) + 0.5), layout="constrained")
    grid = figure.subplots(len(rows), 2 * columns, squeeze=False, height_ratios=heights)
    for axes in grid.ravel():
        axes.set_axis_off()
    for line, row in zip(grid, rows, strict=True):
        for column, one in enumerate(row):
            original, overlay = line[2 * column], line[2 * column + 1]
            original.imshow(one.picture, cmap="gray", vmin=0, vmax=255)
            overlay.imshow(blend(one.picture, one.heatmap, DEFAULT_ALPHA))
            original.set_title(f"labelled {one.label}", fontsize=8)
            overlay.set_title(f"{target} {one.probability:.3f}", fontsize=8)
    colours = ScalarMappable(Normalize(0, 1), ListedColormap(INFERNO / 255.0))
    figure.colorbar(colours, ax=grid, label=f"evidence for {target}", shrink=0.8, aspect=30)
    figure.suptitle(title, fontsize=10)
    return figure


def _aspect(one: Shown) -> float:
    height, width = one.picture.shape
    return height / width
