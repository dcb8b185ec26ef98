"""A data set of tiny pictures, a network whose features are cheap, and one trained AC-GAN."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import Once
from training.device import Compute
from training.experiments.gan.features import FeatureNetwork, FeatureSpace
from training.experiments.gan.recipe import GanJob, GanRecipe, load_gan_recipe
from training.experiments.gan.train import run_gan_training

PATIENTS = 14
CPU = Compute(torch.device("cpu"), torch.float32)
KINDS = {
    "NORMAL/IM-{:04d}-0001": 40,
    "PNEUMONIA/person{}_bacteria_1": 120,
    "PNEUMONIA/person{}_virus_1": 200,
}


class Means(FeatureSpace):
    """Features of no network: the means of sixteen squares."""

    def __init__(self, run: Path, compute: Compute) -> None:
        self.about = FeatureNetwork(name="means", version="1", size_px=32, weights_sha256="0")

    def embed(self, pixels: np.ndarray) -> np.ndarray:  # noqa: D102
        return pixels.reshape(-1, 4, 8, 4, 8).mean(axis=(2, 4)).reshape(-1, 16) / np.float32(64.0)


@pytest.fixture(scope="session")
def tiny_data(once: Once) -> Path:
    """Pictures of 36 pixels whose grey level is their class, one for each patient."""
    return once("tiny", draw_tiny_data)


def draw_tiny_data(root: Path) -> None:
    draw = np.random.default_rng(0)
    for i in range(PATIENTS):
        for j, (name, level) in enumerate(KINDS.items()):
            path = root / "train" / f"{name.format(100 * j + i)}.jpeg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(level - 9, level + 9, (36, 36), np.uint8)).save(path)


@pytest.fixture(scope="session")
def tiny_recipe() -> GanRecipe:
    """Two epochs of a few steps."""
    return load_gan_recipe("smoke").model_copy(update={"task": "ternary"})


def make_job(recipe: GanRecipe, data: Path, out: Path, split_file: Path | None = None) -> GanJob:
    return GanJob(recipe, data, out, CPU, Path("unused"), split_file, quiet=True)


@pytest.fixture(scope="session")
def tiny_gan(tiny_data: Path, tiny_recipe: GanRecipe, once: Once) -> Path:
    """The directory of a finished training."""

    def train(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("training.experiments.gan.train.FeatureSpace", Means)
            run_gan_training(make_job(tiny_recipe, tiny_data, folder / "tiny"))

    return once("gan", train) / "tiny"
