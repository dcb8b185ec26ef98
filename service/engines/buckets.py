"""Batch sizes that are run: each costs planning and memory once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.pixels.image import ModelInput

CPU_BATCH = 4
"""Largest batch worth running on a core: it takes as long as four runs of one image, but with
decoding in between the weights come back from memory for each."""


def bucket_sizes(max_batch: int) -> tuple[int, ...]:
    """Return 1, 2, 4, ... below ``max_batch``, and ``max_batch`` itself."""
    sizes = [1]
    while sizes[-1] * 2 < max_batch:
        sizes.append(sizes[-1] * 2)
    return tuple(sizes) if max_batch == 1 else (*sizes, max_batch)


def bucket_of(count: int, buckets: Sequence[int]) -> int:
    """Return the smallest bucket that fits; raise ValueError."""
    for bucket in buckets:
        if bucket >= count:
            return bucket
    raise ValueError(f"{count} images are more than the largest batch, {buckets[-1]}")


def stack_padded(
    inputs: Sequence[ModelInput],
    buckets: Sequence[int],
    new_batch: Callable[[int], NDArray[np.uint8]] | None = None,
) -> NDArray[np.uint8]:
    """Stack model inputs (1, S, S), uint8, padded with black to the next bucket."""
    size = bucket_of(len(inputs), buckets)
    batch = new_batch(size) if new_batch else np.empty((size, *inputs[0].shape), dtype=np.uint8)
    np.stack(inputs, out=batch[: len(inputs)])
    batch[len(inputs) :] = 0
    return batch
