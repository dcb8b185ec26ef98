"""Sheets of images, and a sheet after every epoch to watch a training by."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr.data.labels import Task
from training.device import Compute
from training.experiments.gan.generator import Generator
from training.experiments.gan.recipe import GanRecipe
from training.experiments.gan.sampling import generate, stream_seed

GAP_PX = 2
PREVIEW_COLUMNS = 8


def render_sheet(pixels: NDArray[np.uint8], columns: int) -> bytes:
    """Lay images out row by row: PNG bytes.

    Args:
        pixels: Shape (N, 1, S, S), uint8.
        columns: Images in a row.
    """
    n, _, side, _ = pixels.shape
    rows = -(-n // columns)
    step = side + GAP_PX
    sheet = np.full((rows * step - GAP_PX, columns * step - GAP_PX), 255, dtype=np.uint8)
    for i, image in enumerate(pixels):
        top, left = i // columns * step, i % columns * step
        sheet[top : top + side, left : left + side] = image[0]
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def sample_images(
    generator: Generator, label: int, n: int, recipe: GanRecipe, compute: Compute
) -> NDArray[np.uint8]:
    """Generate ``n`` images of a class from the fixed noise of all sheets: (n, 1, S, S)."""
    seed = stream_seed(recipe.seed, "sheet")
    return generate(generator, np.full(n, label, dtype=np.int64), seed, compute)


def render_rows(generator: Generator, classes: int, recipe: GanRecipe, compute: Compute) -> bytes:
    """Draw a row of images of each class, from the same noise every time: PNG bytes."""
    rows = [
        sample_images(generator, label, PREVIEW_COLUMNS, recipe, compute)
        for label in range(classes)
    ]
    return render_sheet(np.concatenate(rows), PREVIEW_COLUMNS)


def write_preview(
    generator: Generator,
    task: Task,
    recipe: GanRecipe,
    compute: Compute,
    directory: Path,
    epoch: int,
) -> Path:
    """Write ``epoch-NNN.png``: a row of each class, from the same noise every time."""
    path = directory / f"epoch-{epoch + 1:03d}.png"
    path.write_bytes(render_rows(generator, len(task.classes), recipe, compute))
    return path
