"""Figures of a task, also where it has more than two classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.data.labels import Task
from cxr.metrics.binary import Ranking, measure
from cxr.metrics.bootstrap import REPLICATES, Floats, bootstrap
from cxr.metrics.estimate import Metrics

CLASS_ACCURACY = "class_accuracy"
MACRO_AUROC = "macro_auroc"
RECALL = "recall_"


def measure_task(
    labels: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    task: Task,
    thresholds: dict[str, float],
    patients: Sequence[str] | None = None,
    replicates: int = REPLICATES,
) -> dict[str, Metrics]:
    """Measure class indices (N,) and calibrated probabilities (N, K) at every operating point.

    For more than two classes there are also ``class_accuracy``, ``recall_CLASS`` and
    ``macro_auroc``.

    Raises:
        DataError: There is no image, or a probability is not finite.
    """
    finding = task.is_positive(labels).astype(np.int64)
    found = measure(finding, task.probabilities(probabilities), thresholds, patients, replicates)
    if len(task.classes) == 2:
        return found
    given = {
        point: labels_at(probabilities, task, threshold) for point, threshold in thresholds.items()
    }
    names = np.arange(len(labels)) if patients is None else np.asarray(patients)

    rankings = _rankings(labels, probabilities)

    def figures(weights: Floats) -> dict[str, dict[str, float]]:
        ranking = _mean_area(rankings, weights)
        return {
            point: _label_figures(labels, called, weights, task) | {MACRO_AUROC: ranking}
            for point, called in given.items()
        }

    of_classes = bootstrap(figures, names, replicates, seed=0)
    return {point: found[point] | of_classes[point] for point in thresholds}


def labels_at(
    probabilities: NDArray[np.floating], task: Task, threshold: float
) -> NDArray[np.int64]:
    """Return the class index each image is called, (N,), as if the model never abstained.

    From the threshold on it is the most probable class of the finding, else the other one.
    """
    reached = task.probabilities(probabilities) >= threshold
    among = np.isin(np.arange(len(task.classes)), task.positive_columns)
    allowed = np.where(reached[:, None], among, ~among)
    return np.where(allowed, probabilities, -1.0).argmax(axis=1)


def _label_figures(
    labels: NDArray[np.int64], called: NDArray[np.int64], weights: Floats, task: Task
) -> dict[str, float]:
    right = (called == labels) * weights
    figures = {CLASS_ACCURACY: float(right.sum() / weights.sum())}
    for index, name in enumerate(task.classes):
        total = float(weights[labels == index].sum())
        share = float(right[labels == index].sum()) / total if total else float("nan")
        figures[RECALL + name] = share
    return figures


def macro_auroc(labels: NDArray[np.int64], probabilities: NDArray[np.floating]) -> float:
    """Return the mean AUROC of each class against the others; NaN if a class has no image."""
    return _mean_area(_rankings(labels, probabilities), np.ones(len(labels)))


def _rankings(labels: NDArray[np.int64], probabilities: NDArray[np.floating]) -> list[Ranking]:
    return [
        Ranking((labels == index).astype(np.float64), column.astype(np.float64))
        for index, column in enumerate(probabilities.T)
    ]


def _mean_area(rankings: Sequence[Ranking], weights: Floats) -> float:
    return float(np.mean([one.areas(weights)[0] for one in rankings]))
