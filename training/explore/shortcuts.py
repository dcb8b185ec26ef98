"""What a model could answer by without looking at a lung."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxr.data.labels import TASKS
from training.data.split import group_samples
from training.explore.facts import CLUES
from training.explore.findings import Shortcut, Shortcuts
from training.explore.listing import BACTERIAL, VIRAL, ordered_classes
from training.explore.reading import Collection
from training.report.bootstrap import estimate_auroc

FOLDS = 5
SKEWED = ("file_bytes", "bytes_per_pixel", "width", "height", "aspect")
"""Ratios: the regression takes their logarithms."""


def measure_shortcuts(collection: Collection, seed: int) -> list[Shortcuts]:
    """Measure how well clues, alone and together, separate the classes.

    Images of ``test`` folders take no part.
    """
    learnt_from = np.array([folder.rpartition("/")[2] != "test" for folder in collection.folders])
    found = []
    for question in _questions_of(collection):
        kept = question.asked & learnt_from
        truth = question.truth[kept]
        if truth.any() and not truth.all():
            found.append(_measure(collection, question, kept, truth, seed))
    return found


def _measure(
    collection: Collection,
    question: Question,
    kept: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    seed: int,
) -> Shortcuts:
    patients = collection.patients[kept]
    alone = []
    for name, title in CLUES.items():
        values = collection.clues[name][kept]
        auroc = estimate_auroc(truth, values, patients, seed)
        larger_in = None if np.ptp(values) == 0 else question.positive
        if auroc.value is not None and auroc.value < 0.5:
            auroc = estimate_auroc(truth, -values, patients, seed)
            larger_in = question.negative
        alone.append(Shortcut(clue=name, title=title, auroc=auroc, larger_in=larger_in))
    columns = [
        np.log(collection.clues[name][kept]) if name in SKEWED else collection.clues[name][kept]
        for name in CLUES
    ]
    groups = group_samples(list(patients), list(collection.digests[kept]))
    given = _held_out(np.stack(columns, axis=1), truth, groups, seed)
    return Shortcuts(
        question=question.name,
        positives=int(truth.sum()),
        negatives=int((~truth).sum()),
        alone=tuple(sorted(alone, key=lambda one: -(one.auroc.value or 0.0))),
        together=None if given is None else estimate_auroc(truth, given, patients, seed),
        folds=FOLDS,
    )


def _held_out(
    columns: NDArray[np.float64], truth: NDArray[np.bool_], groups: NDArray[np.int64], seed: int
) -> NDArray[np.float64] | None:
    """Return cross-validated log-odds (N,) by patient, None if a side has too few."""
    if min(len(set(groups[truth])), len(set(groups[~truth]))) < FOLDS:
        return None
    given = np.empty(len(truth))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for learn, answer in folds.split(columns, truth, groups):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        model.fit(columns[learn], truth[learn])
        given[answer] = model.decision_function(columns[answer])
    return given


@dataclass(frozen=True)
class Question:
    """Two sides of a collection: ``asked`` (N,) for either, ``truth`` (N,) for the first."""

    positive: str
    negative: str
    asked: NDArray[np.bool_]
    truth: NDArray[np.bool_]

    @property
    def name(self) -> str:
        """The question for people."""
        return f"{self.positive} against {self.negative}"


def _questions_of(collection: Collection) -> list[Question]:
    """List the questions that the classes allow.

    A known task's finding against its other classes; else the second of two classes against the
    first, or each of several against the rest. Then bacterial against viral, where known.
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
