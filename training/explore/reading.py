"""A data set as numbers and thumbnails, 5 kB an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr.errors import DataError, InputError
from training.data.samples import map_over_images
from training.explore.facts import CLUES, Facts, measure_image
from training.explore.listing import Listed


@dataclass(frozen=True)
class Collection:
    """Measurements of every readable image.

    Attributes:
        clues: Shape (N,) for each of :data:`training.explore.facts.CLUES`.
        thumbnails: Shape (N, 64, 64), uint8.
        histograms: Shape (N, 64), shares.
        digests: Shape (N,), equal for the same pixels.
        formats: Shape (N,).
    """

    listed: tuple[Listed, ...]
    clues: dict[str, NDArray[np.float64]]
    thumbnails: NDArray[np.uint8]
    histograms: NDArray[np.float32]
    digests: NDArray[np.str_]
    formats: NDArray[np.str_]
    unreadable: dict[str, str]

    @property
    def labels(self) -> NDArray[np.str_]:
        """Class folders, shape (N,)."""
        return np.array([one.image.label for one in self.listed])

    @property
    def folders(self) -> NDArray[np.str_]:
        """Split folders, shape (N,)."""
        return np.array([one.folder for one in self.listed])

    @property
    def patients(self) -> NDArray[np.str_]:
        """Pseudonyms, shape (N,)."""
        return np.array([one.image.patient for one in self.listed])

    @property
    def names(self) -> NDArray[np.str_]:
        """Paths relative to the data set, shape (N,)."""
        return np.array([one.image.name for one in self.listed])

    @property
    def etiologies(self) -> NDArray[np.str_]:
        """``BACTERIAL``, ``VIRAL`` or empty, shape (N,)."""
        return np.array([one.etiology for one in self.listed])


def read_collection(listed: Sequence[Listed], workers: int, quiet: bool = False) -> Collection:
    """Measure every image, as many at a time as workers; DataError if none can be read."""

    def measure(one: Listed) -> Facts | str:
        try:
            return measure_image(one.image.path.read_bytes())
        except InputError as error:
            return str(error)

    results = map_over_images(measure, listed, workers, quiet)
    pairs = list(zip(listed, results, strict=True))
    kept = [(one, facts) for one, facts in pairs if isinstance(facts, Facts)]
    if not kept:
        raise DataError(f"None of the {len(listed)} images can be read.")
    return Collection(
        listed=tuple(one for one, _ in kept),
        clues={name: np.array([facts.clues[name] for _, facts in kept]) for name in CLUES},
        thumbnails=np.stack([facts.thumbnail for _, facts in kept]),
        histograms=np.stack([facts.histogram for _, facts in kept]),
        digests=np.array([facts.digest for _, facts in kept]),
        formats=np.array([facts.format for _, facts in kept]),
        unreadable={one.image.name: why for one, why in pairs if isinstance(why, str)},
    )
