"""Sources and populations of samples."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.data.dataset import LabelledImage
from cxr.errors import DataError
from training.data.samples import Samples
from training.recipe import Recipe

log = logging.getLogger(__name__)


def populations_of(samples: Samples, recipe: Recipe) -> NDArray[np.str_]:
    """Return the population of each sample, shape (N,).

    Raises:
        DataError: A source belongs to none of the recipe's populations.
    """
    pairs = zip(map(str, samples.sources), map(str, samples.populations), strict=True)
    return np.array([recipe.population_of(source, stated) for source, stated in pairs])


def verify_sources(
    images: Sequence[LabelledImage], recipe: Recipe, left_out: Sequence[str]
) -> None:
    """Check what a list states, before its images are read.

    Raises:
        DataError: A source belongs to none of the recipe's populations, or none is so called.
    """
    for source, stated in sorted({(one.source, one.population) for one in images}):
        recipe.population_of(source, stated)
    known = sorted({one.source for one in images})
    if unknown := sorted(set(left_out) - set(known)):
        raise DataError(f"No image is of the source {unknown[0]!r}. There are {', '.join(known)}.")


def without_sources(samples: Samples, left_out: tuple[str, ...]) -> Samples:
    """Drop the samples of some sources.

    Raises:
        DataError: A population would have none left.
    """
    kept = ~np.isin(samples.sources, left_out)
    if gone := sorted(set(samples.populations) - set(samples.populations[kept])):
        raise DataError(
            f"Every source of {gone[0] or 'the data'} is left out. Leave out its data set and its "
            "population in the recipe instead."
        )
    if left_out:
        log.info("left out of training: %d images of %s", (~kept).sum(), ", ".join(left_out))
    return samples.take(np.flatnonzero(kept))
