"""How well numbers put images in order, for many weightings of the same images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Ranking:
    """Areas under the ROC and precision-recall curves of one set of images.

    The images are sorted once. A thousand bootstrap replicates of a library's functions, which
    sort and check their input each time, took most of a small training's time; the definitions
    are scikit-learn's (``roc_auc_score``, ``average_precision_score``).

    Args:
        labels: Shape (N,), 0 or 1.
        values: Shape (N,), larger where 1 is expected; ties count half.
    """

    def __init__(self, labels: Floats, values: Floats) -> None:
        self._order = np.argsort(-values, kind="stable")
        self._labels = np.asarray(labels, dtype=np.float64)[self._order]
        falling = values[self._order]
        self._ends = np.flatnonzero(np.r_[np.diff(falling) < 0, True])

    def areas(self, weights: Floats) -> tuple[float, float]:
        """Give AUROC and average precision; not a number if a side is missing.

        Args:
            weights: Shape (N,), not negative.
        """
        sorted_weights = weights[self._order]
        caught = np.cumsum(sorted_weights * self._labels)[self._ends]
        alarms = np.cumsum(sorted_weights * (1.0 - self._labels))[self._ends]
        if not caught[-1] > 0 or not alarms[-1] > 0:
            return float("nan"), float("nan")
        more = np.diff(caught, prepend=0.0)
        called = caught + alarms
        precision = np.divide(caught, called, out=np.zeros_like(called), where=called > 0)
        # Divided last: a perfect order of whole weights gives exactly 1.
        won = (np.diff(alarms, prepend=0.0) * (caught - more / 2.0)).sum()
        auroc = won / (caught[-1] * alarms[-1])
        return float(auroc), float((more * precision).sum() / caught[-1])
