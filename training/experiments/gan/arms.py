"""The compared trainings, with and without synthetic images."""

from __future__ import annotations

import numpy as np

from cxr.data.labels import Task
from cxr.errors import DataError
from cxr.section import Section
from training.data.samples import Samples

REAL, EVEN, MINORITY = "real", "even", "minority"
ARMS = (REAL, EVEN, MINORITY)


class Addition(Section):
    """Synthetic images, by class, that join the train part."""

    images: dict[str, int]


def additions(
    train: Samples, made: Samples, task: Task, each: int, minority: str | None = None
) -> dict[str, Addition]:
    """Return how many synthetic images each arm takes; DataError if there are too few.

    ``even`` takes ``each`` of every class. ``minority`` fills one class, the smallest by default,
    up to the size of the largest.
    """
    real = _counts(train, task)
    chosen = minority or min(real, key=lambda name: real[name])
    if chosen not in real:
        raise DataError(f"No class {chosen!r}: there are {', '.join(task.classes)}.")
    wanted = {
        REAL: {},
        EVEN: dict.fromkeys(task.classes, each),
        MINORITY: {chosen: max(real.values()) - real[chosen]},
    }
    there = _counts(made, task)
    for arm, images in wanted.items():
        for name, count in images.items():
            if count > there[name]:
                raise DataError(
                    f"The arm {arm!r} takes {count} made images of {name}, there are "
                    f"{there[name]}. Make more: python -m training synthesize --n {count}."
                )
    return {arm: Addition(images=images) for arm, images in wanted.items()}


def choose(made: Samples, addition: Addition, task: Task, seed: int) -> Samples | None:
    """Draw the synthetic samples of an arm; None if it takes none."""
    draw = np.random.default_rng(seed)
    chosen = [
        draw.choice(np.flatnonzero(made.labels == task.classes.index(name)), count, replace=False)
        for name, count in addition.images.items()
        if count
    ]
    return made.take(np.concatenate(chosen)) if chosen else None


def _counts(samples: Samples, task: Task) -> dict[str, int]:
    counts = np.bincount(samples.labels, minlength=len(task.classes))
    return {name: int(count) for name, count in zip(task.classes, counts, strict=True)}
