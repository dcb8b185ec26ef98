"""Sources and populations of samples."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

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


def without_sources(samples: Samples, left_out: tuple[str, ...]) -> Samples:
    """Drop the samples of some sources.

    Raises:
        DataError: There is no such source, or a population would have none left.
    """
    if unknown := sorted(set(left_out) - set(samples.sources)):
        known = ", ".join(sorted(set(map(str, samples.sources))))
        raise DataError(f"No image is of the source {unknown[0]!r}. There are {known}.")
    kept = ~np.isin(samples.sources, left_out)
    if gone := sorted(set(samples.populations) - set(samples.populations[kept])):
        raise DataError(
            f"Every source of {gone[0] or 'the data'} is left out. Leave out its data set and its "
            "population in the recipe instead."
        )
    if left_out:
        log.info("left out of training: %d images of %s", (~kept).sum(), ", ".join(left_out))
    return samples.take(np.flatnonzero(kept))
