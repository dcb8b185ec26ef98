"""Images of a generator, and the order of real images."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cxr.data.labels import Task
from training.device import Compute
from training.experiments.gan.generator import Generator
from training.experiments.gan.recipe import GanRecipe

GENERATING_BATCH = 32


def stream_seed(*of: object) -> int:
    """Return a seed that depends only on the arguments."""
    return int.from_bytes(hashlib.sha256(repr(of).encode()).digest()[:4])


def balanced_order(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return N indices with every class of labels (N,) equally often.

    Classes alternate; each is used up before it is shuffled again, so an epoch skips some images of
    a large class and repeats those of a small one.
    """
    generator = np.random.default_rng(seed)
    classes = np.unique(labels)
    each = -(-len(labels) // len(classes))
    columns = []
    for label in classes:
        members = np.flatnonzero(labels == label)
        rounds = -(-each // len(members))
        dealt = np.concatenate([generator.permutation(members) for _ in range(rounds)])
        columns.append(dealt[:each])
    return np.stack(columns, axis=1).ravel()[: len(labels)]


def to_unit(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Scale model inputs (N, 1, S, S) to [-1, 1]."""
    return torch.from_numpy(pixels).float().div_(127.5).sub_(1.0)


@torch.inference_mode()
def generate(
    generator: Generator, labels: NDArray[np.int64], seed: int, compute: Compute
) -> NDArray[np.uint8]:
    """Generate one image for each class index (N,): (N, 1, S, S), uint8."""
    generator.eval()
    source = torch.Generator().manual_seed(seed)
    noise = torch.stack([torch.randn(generator.latent, generator=source) for _ in labels])
    found = []
    for start in range(0, len(labels), GENERATING_BATCH):
        chosen = slice(start, start + GENERATING_BATCH)
        with compute.autocast():
            images = generator(
                noise[chosen].to(compute.device),
                torch.from_numpy(labels[chosen]).to(compute.device),
            )
        found.append(images.add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu())
    return torch.cat(found).numpy()


GAP_PX = 2
PREVIEW_COLUMNS = 8


def render_sheet(pixels: NDArray[np.uint8], columns: int) -> bytes:
    """Lay images (N, 1, S, S), uint8, out row by row as PNG."""
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
    """Generate images (n, 1, S, S) of a class from the fixed noise of all sheets."""
    seed = stream_seed(recipe.seed, "sheet")
    return generate(generator, np.full(n, label, dtype=np.int64), seed, compute)


def render_rows(generator: Generator, classes: int, recipe: GanRecipe, compute: Compute) -> bytes:
    """Draw a row of each class from fixed noise as PNG."""
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
    """Write ``epoch-NNN.png``."""
    path = directory / f"epoch-{epoch + 1:03d}.png"
    path.write_bytes(render_rows(generator, len(task.classes), recipe, compute))
    return path
