"""Training samples in memory: model inputs with labels."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from cxr.data.dataset import LabelledImage
from cxr.data.labels import Task
from cxr.errors import DataError, InputError
from cxr.images.decoding import Preprocessing, decode_image, decode_options, to_model_input
from cxr.pixels.image import ModelInput

log = logging.getLogger(__name__)

MAX_UNREADABLE_SHARE = 0.05  # more than a few broken files mean a broken copy of the data set
NAMED_UNREADABLE = 10


@dataclass(frozen=True)
class Samples:
    """Model inputs in memory, 50 kB each at 224 px.

    Attributes:
        pixels: Shape (N, 1, S, S), uint8.
        labels: Shape (N,), class indices.
        names: Shape (N,), paths relative to the data set.
        patients: Shape (N,), pseudonyms.
        sources: Shape (N,), data sets or parts of them, empty where unknown.
        populations: Shape (N,), empty where not stated.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: NDArray[np.str_]
    patients: NDArray[np.str_]
    sources: NDArray[np.str_]
    populations: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: NDArray[np.int64]) -> Samples:
        """Return the samples at these indices."""
        return Samples(*(getattr(self, one.name)[indices] for one in fields(self)))

    def pixel_digests(self) -> list[str]:
        """Return each input's SHA-256, equal for duplicates, re-encoded ones included."""
        return [hashlib.sha256(image.tobytes()).hexdigest() for image in self.pixels]

    def data_digest(self) -> str:
        """Return the SHA-256 over names, labels and pixels."""
        total = hashlib.sha256()
        for row in sorted(zip(self.names, self.labels, self.pixel_digests(), strict=True)):
            total.update(repr(tuple(str(v) for v in row)).encode())
        return total.hexdigest()


def load_samples(
    images: Sequence[LabelledImage],
    spec: Preprocessing,
    task: Task,
    workers: int = 2,
    quiet: bool = False,
) -> Samples:
    """Decode and resize images, leaving out those that cannot be read.

    Raises:
        DataError: More than 5 % are unreadable.
    """
    options = decode_options(spec)

    def load(image: LabelledImage) -> ModelInput | InputError:
        try:
            return to_model_input(decode_image(image.path.read_bytes(), options).pixels, spec)
        except InputError as error:
            return error

    loaded = map_over_images(load, images, workers, quiet)
    kept = [(i, r) for i, r in zip(images, loaded, strict=True) if not isinstance(r, InputError)]
    broken = [(i, r) for i, r in zip(images, loaded, strict=True) if isinstance(r, InputError)]
    _report_broken(broken, len(images))
    return Samples(
        pixels=np.stack([pixels for _, pixels in kept]),
        labels=np.array([task.classes.index(image.label) for image, _ in kept], dtype=np.int64),
        names=np.array([image.name for image, _ in kept]),
        patients=np.array([image.patient for image, _ in kept]),
        sources=np.array([image.source for image, _ in kept]),
        populations=np.array([image.population for image, _ in kept]),
    )


def _report_broken(broken: list[tuple[LabelledImage, InputError]], total: int) -> None:
    for image, error in broken[:NAMED_UNREADABLE]:
        log.warning("left out %s: %s", image.name, error)
    if broken:
        log.warning("%d of %d images are unreadable and left out", len(broken), total)
    if len(broken) > MAX_UNREADABLE_SHARE * total:
        raise DataError(
            f"{len(broken)} of {total} images are unreadable, the first is "
            f"{broken[0][0].name}. Copy the data set again."
        )


ThingT = TypeVar("ThingT")
ResultT = TypeVar("ResultT")


def map_over_images(
    work: Callable[[ThingT], ResultT], images: Sequence[ThingT], workers: int, quiet: bool
) -> list[ResultT]:
    """Call a function with each image in threads and return the results in order.

    ``work``: Releases the GIL for most of its time, as decoding does.
    """
    with ThreadPoolExecutor(workers) as pool:
        results = tqdm(
            pool.map(work, images),
            total=len(images),
            desc="reading images",
            unit="image",
            disable=quiet,
            dynamic_ncols=True,
        )
        return list(results)
