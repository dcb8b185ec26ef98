"""What generated images are worth: KID against held-out patients, and nearest neighbours."""

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
    """Distances to the nearest training image, in the space of features.

    Attributes:
        generated: Median over generated images.
        held_out: Median over images of held-out patients.
        close_share: Share of generated images nearer to a training image than all but the
            nearest hundredth of the held-out ones; about 0.01 if nothing is copied.
    """

    generated: float
    held_out: float
    close_share: float


class GeneratorEvaluator:
    """Compares generated images with those of held-out patients.

    Args:
        space: Features.
        recipe: Says on how much.
        task: What the classes are.
        val: Samples the training never learns from.
        compute: Where to generate.
    """

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
        """KID of a fresh set of generated images, by class."""
        pixels, labels = self.images(generator, self.recipe.judging.images)
        return self.kid(self.space.embed(pixels), labels)

    def kid(self, features: Features, labels: NDArray[np.int64]) -> dict[str, Kid]:
        """KID of images against held-out ones, by class.

        Args:
            features: Shape (N, D).
            labels: Shape (N,).
        """
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
    """Distance to, and index of, the nearest neighbour.

    Args:
        features: Shape (N, D).
        among: Shape (M, D).

    Returns:
        Both of shape (N,).
    """
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
    """Say, by class, whether generated images lie closer to training images than others do."""
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
    """KID with what it owes to the draw.

    Attributes:
        value: Mean over subsets.
        standard_error: Standard deviation over the subsets by the root of their number. The
            subsets overlap, so it is that of drawing them, not of the images themselves.
    """

    value: float
    standard_error: float


def _kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def squared_mmd(x: Features, y: Features) -> float:
    """Unbiased squared maximum mean discrepancy of two sets.

    Args:
        x: Shape (M, D), M >= 2.
        y: Shape (N, D), N >= 2.
    """
    a, b = x.astype(np.float64), y.astype(np.float64)
    return _within(_kernel(a, a)) + _within(_kernel(b, b)) - 2.0 * float(_kernel(a, b).mean())


def _within(kernel: NDArray[np.float64]) -> float:
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))


def kid(x: Features, y: Features, subsets: int, subset_size: int, seed: int) -> Kid:
    """KID of two sets, over random subsets of both.

    Args:
        x: Shape (M, D).
        y: Shape (N, D).
        subsets: How many.
        subset_size: Images of each; fewer where a set has fewer.
        seed: Of the draw.
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
