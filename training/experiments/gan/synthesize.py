"""Write synthetic radiographs as a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from cxr.bundles.manifest import WEIGHTS_NAME
from cxr.data.dataset import etiology_word
from cxr.data.split import SPLIT_NAME, read_split_file, write_split_file
from cxr.files import new_directory
from cxr.networks.weights import load_weights
from training.data.synthetic import SYNTHETIC_NAME, SyntheticSet
from training.device import Compute
from training.experiments.gan.generator import Generator
from training.experiments.gan.recipe import GanRecipe
from training.experiments.gan.record import GanRun, open_gan
from training.experiments.gan.sampling import generate, stream_seed

JPEG_QUALITY = 95


def load_generator(directory: Path, run: GanRun) -> Generator:
    """Build the generator of a finished training; RunError if the weights differ."""
    recipe = GanRecipe.model_validate(run.recipe)
    generator = Generator(recipe.size_px, len(run.task.classes), recipe.latent, recipe.width)
    load_weights(generator, directory / WEIGHTS_NAME)
    return generator.eval()


def synthesize(gan: Path, out: Path, each: int, seed: int, compute: Compute) -> Path:
    """Write ``each`` images of every class in the Kaggle layout and return the folder.

    Every image is a patient of its own, ``synthetic<N>``. Seed, device and precision determine the
    images. RunError without a finished training, OutputError if the place is taken.
    """
    run = open_gan(gan)
    generator = compute.place(load_generator(gan, run))
    labels = np.repeat(np.arange(len(run.task.classes)), each)
    pixels = generate(generator, labels, stream_seed(seed, "synthesize"), compute)
    with new_directory(out, SYNTHETIC_NAME) as directory:
        for i, (label, image) in enumerate(zip(labels, pixels, strict=True)):
            name = run.task.classes[label]
            word = etiology_word(name)
            folder = directory / "train" / ("PNEUMONIA" if word else name)
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"synthetic{i + 1}_{word or name.lower()}_{i % each + 1}.jpeg"
            Image.fromarray(image[0]).save(file, quality=JPEG_QUALITY)
        write_split_file(directory / SPLIT_NAME, read_split_file(gan / SPLIT_NAME))
        described = SyntheticSet(
            generator=f"{run.name} {run.version}",
            generator_sha256=run.weights_sha256,
            seed=seed,
            images=dict.fromkeys(run.task.classes, each),
        )
        (directory / SYNTHETIC_NAME).write_text(described.model_dump_json(indent=2) + "\n")
    return out
