"""The question a model answers: its classes and which of them is the positive one."""

from __future__ import annotations

from dataclasses import dataclass

from cxr.errors import RunError


@dataclass(frozen=True)
class Task:
    """One classification question.

    Attributes:
        name: Stable identifier, stored in runs and manifests.
        classes: Class names in the order of the network's outputs. They are also the
            names of the class folders of a data set.
        positive: The class whose probability the decision rule compares with a threshold.
    """

    name: str
    classes: tuple[str, ...]
    positive: str

    @property
    def positive_index(self) -> int:
        """Column of the positive class in logits and probabilities."""
        return self.classes.index(self.positive)


PNEUMONIA = Task(name="pneumonia", classes=("NORMAL", "PNEUMONIA"), positive="PNEUMONIA")

TASKS = {task.name: task for task in (PNEUMONIA,)}


def task_named(name: str) -> Task:
    """Give the task of that name.

    Raises:
        RunError: There is none.
    """
    if name not in TASKS:
        raise RunError(f"Unknown task {name!r}: known tasks are {', '.join(sorted(TASKS))}.")
    return TASKS[name]
