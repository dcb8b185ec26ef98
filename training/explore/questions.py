"""Which classes a model would have to tell apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr.data.labels import TASKS
from training.explore.listing import BACTERIAL, VIRAL, ordered_classes
from training.explore.reading import Collection


@dataclass(frozen=True)
class Question:
    """Two sides of a collection.

    Attributes:
        positive: What the first side is called.
        negative: What the other is called.
        asked: Shape (N,): images of either side.
        truth: Shape (N,): images of the first side.
    """

    positive: str
    negative: str
    asked: NDArray[np.bool_]
    truth: NDArray[np.bool_]

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.positive} against {self.negative}"


def questions_of(collection: Collection) -> list[Question]:
    """List the questions the classes lend themselves to.

    A known task's finding against its other classes; else the second of two classes against the
    first, or each of several against the rest. Then bacterial against viral, where it is told.
    """
    labels = collection.labels
    classes = ordered_classes(set(labels))
    sides = _sides(classes)
    questions = [
        Question(" or ".join(side), " or ".join(c for c in classes if c not in side), every, truth)
        for side in sides
        for every, truth in [(np.ones(len(labels), dtype=bool), np.isin(labels, side))]
    ]
    kinds = collection.etiologies
    if {BACTERIAL, VIRAL} <= set(kinds) and classes != [VIRAL, BACTERIAL]:
        questions.append(Question(BACTERIAL, VIRAL, kinds != "", kinds == BACTERIAL))
    return questions


def _sides(classes: list[str]) -> list[list[str]]:
    for task in TASKS.values():
        if classes == list(task.classes):
            return [list(task.positive_classes)]
    return [[name] for name in (classes[1:] if len(classes) == 2 else classes)] * (len(classes) > 1)
