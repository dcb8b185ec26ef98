"""Compare generated images with held-out ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxr.data.labels import Task
from cxr.section import Section
from training.data.samples import Samples
from training.device import Compute
from training.experiments.gan.features import FeatureSpace
from training.experiments.gan.generator import Generator
from training.experiments.gan.recipe import GanRecipe
from training.experiments.gan.sampling import generate, stream_seed

CLOSE_QUANTILE = 0.01
"""A generated image counts as close to a training image if only this share of the held-out
images has one as near."""


class Memorisation(Section):
    """Distances to the nearest training image in the feature space."""

    generated: float
    held_out: float
    close_share: float


class GeneratorEvaluator:
    """Compares generated images with held-out patients'."""

    def __init__(
        self, space: FeatureSpace, recipe: GanRecipe, task: Task, val: Samples, compute: Compute
    ) -> None:
        self.space, self.recipe, self.task, self.compute = space, recipe, task, compute
        self.val_labels = val.labels
        self.val_features = space.embed(val.pixels)

    def images(
        self, generator: Generator, each: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Generate ``each`` images of every class, with their labels."""
        labels = np.repeat(np.arange(len(self.task.classes)), each)
        seed = stream_seed(self.recipe.seed, "judge")
        return generate(generator, labels, seed, self.compute), labels

    def kid_of(self, generator: Generator) -> dict[str, Kid]:
        """Return the KID of newly generated images, by class."""
        pixels, labels = self.images(generator, self.recipe.judging.images)
        return self.kid(self.space.embed(pixels), labels)

    def kid(self, features: Features, labels: NDArray[np.int64]) -> dict[str, Kid]:
        """Return the KID of features (N, D) with labels (N,) against held-out ones, by class."""
        judging = self.recipe.judging
        return {
            name: kid(
                features[labels == label],
                self.val_features[self.val_labels == label],
                judging.subsets,
                judging.subset_size,
                stream_seed(self.recipe.seed, "kid", name),
            )
            for label, name in enumerate(self.task.classes)
        }


def nearest(features: Features, among: Features) -> tuple[Features, NDArray[np.int64]]:
    """Return distance to and index of each nearest neighbour, (N,), of (N, D) among (M, D)."""
    squares = (features**2).sum(axis=1)[:, None] + (among**2).sum(axis=1)[None]
    squares = squares - 2.0 * features @ among.T
    index = squares.argmin(axis=1)
    return np.linalg.norm(features - among[index], axis=1), index


def memorisation(
    generated: Features,
    generated_labels: NDArray[np.int64],
    held_out: Features,
    held_out_labels: NDArray[np.int64],
    train: Features,
    classes: Sequence[str],
) -> dict[str, Memorisation]:
    """Compare, by class, how close generated and held-out images are to training images."""
    made, _ = nearest(generated, train)
    real, _ = nearest(held_out, train)
    found = {}
    for label, name in enumerate(classes):
        own, others = made[generated_labels == label], real[held_out_labels == label]
        found[name] = Memorisation(
            generated=float(np.median(own)),
            held_out=float(np.median(others)),
            close_share=float((own < np.quantile(others, CLOSE_QUANTILE)).mean()),
        )
    return found


Features: TypeAlias = NDArray[np.float32]


class Kid(Section):
    """KID over random subsets."""

    value: float
    standard_error: float


def _kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def squared_mmd(x: Features, y: Features) -> float:
    """Return the unbiased squared maximum mean discrepancy of (M, D) and (N, D); M, N >= 2."""
    a, b = x.astype(np.float64), y.astype(np.float64)
    return _within(_kernel(a, a)) + _within(_kernel(b, b)) - 2.0 * float(_kernel(a, b).mean())


def _within(kernel: NDArray[np.float64]) -> float:
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))


def kid(x: Features, y: Features, subsets: int, subset_size: int, seed: int) -> Kid:
    """Return the KID of two sets (M, D) and (N, D), over random subsets of both.

    The squared maximum mean discrepancy under the kernel (x y / d + 1)^3, estimated without bias,
    hence possibly negative. Source: Binkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs",
    ICLR 2018.
    """
    draw = np.random.default_rng(seed)
    size = min(subset_size, len(x), len(y))
    values = [
        squared_mmd(
            x[draw.choice(len(x), size, replace=False)], y[draw.choice(len(y), size, replace=False)]
        )
        for _ in range(subsets)
    ]
    return Kid(
        value=float(np.mean(values)),
        standard_error=float(np.std(values, ddof=1) / np.sqrt(subsets)),
    )
