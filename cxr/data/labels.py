"""The question a model answers: its classes, and which of them make up the finding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cxr.errors import RunError


@dataclass(frozen=True)
class Task:
    """One classification question.

    Attributes:
        name: Stable identifier, stored in runs and manifests.
        classes: Names in the order of the network's outputs, and of the class folders.
        positive: The finding, whose probability is compared with a threshold.
        positives: Classes that make up the finding; empty if it is a class itself.
    """

    name: str
    classes: tuple[str, ...]
    positive: str
    positives: tuple[str, ...] = ()

    @cached_property
    def positive_classes(self) -> tuple[str, ...]:
        """Classes that make up the finding, in the order of the network's outputs."""
        chosen = self.positives or (self.positive,)
        return tuple(name for name in self.classes if name in chosen)

    @cached_property
    def negative_classes(self) -> tuple[str, ...]:
        """The other classes."""
        return tuple(name for name in self.classes if name not in self.positive_classes)

    @cached_property
    def presupposed(self) -> str | None:
        """Finding of which every class is a kind, which the question takes for granted."""
        wholes = {KINDS.get(name) for name in self.classes}
        return wholes.pop() if len(wholes) == 1 else None

    @cached_property
    def positive_columns(self) -> list[int]:
        """Columns of the finding's classes in logits and probabilities."""
        return [self.classes.index(name) for name in self.positive_classes]

    def is_positive(self, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which class indices (N,) belong to the finding, shape (N,)."""
        return np.isin(labels, self.positive_columns)

    def probabilities(self, of_classes: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the finding's probabilities (N,), given those of the classes (N, K)."""
        columns = of_classes[:, self.positive_columns].astype(np.float64)
        return np.asarray(columns.sum(axis=1).clip(0.0, 1.0))


KINDS: Mapping[str, str] = {"BACTERIAL": "PNEUMONIA", "VIRAL": "PNEUMONIA"}
"""Classes that are kinds of a finding, each with that finding."""

PNEUMONIA = Task(name="pneumonia", classes=("NORMAL", "PNEUMONIA"), positive="PNEUMONIA")

ETIOLOGY = Task(name="etiology", classes=("VIRAL", "BACTERIAL"), positive="BACTERIAL")
"""For radiographs with pneumonia; the answer does not say whether there is any."""

TERNARY = Task(
    name="ternary",
    classes=("NORMAL", "BACTERIAL", "VIRAL"),
    positive="PNEUMONIA",
    positives=("BACTERIAL", "VIRAL"),
)

TASKS = {task.name: task for task in (PNEUMONIA, ETIOLOGY, TERNARY)}


def task_named(name: str) -> Task:
    """Return the task of that name.

    Raises:
        RunError: There is none.
    """
    if name not in TASKS:
        raise RunError(f"Unknown task {name!r}: known tasks are {', '.join(sorted(TASKS))}.")
    return TASKS[name]
