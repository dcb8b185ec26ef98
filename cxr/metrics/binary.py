"""Figures of a classifier of two classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.errors import DataError
from cxr.metrics.bootstrap import REPLICATES, Floats, bootstrap
from cxr.metrics.estimate import Metrics

ECE_BINS = 15  # the number of Guo et al. 2017, kept by most who report ECE


class Ranking:
    """Areas under the ROC and precision-recall curves, as scikit-learn defines them.

    The images are sorted once, not in each of a thousand bootstrap replicates. ``labels`` (N,) are
    0 or 1; ``values`` (N,) are larger where 1 is expected; ties count half.
    """

    def __init__(self, labels: Floats, values: Floats) -> None:
        self._order = np.argsort(-values, kind="stable")
        self._labels = np.asarray(labels, dtype=np.float64)[self._order]
        falling = values[self._order]
        self._ends = np.flatnonzero(np.r_[np.diff(falling) < 0, True])

    def areas(self, weights: Floats) -> tuple[float, float]:
        """Return AUROC and average precision; NaN if a class is missing."""
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


def expected_calibration_error(labels: Floats, probabilities: Floats, weights: Floats) -> float:
    """Return the mean distance of predicted and observed frequency over bins of equal width.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    bins = np.minimum((probabilities * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = np.bincount(bins, weights * (probabilities - labels), minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0 else float("nan")


def _threshold_figures(
    labels: Floats, probabilities: Floats, weights: Floats, threshold: float
) -> dict[str, float]:
    called = probabilities >= threshold
    tp = float(weights[called & (labels == 1)].sum())
    fp = float(weights[called & (labels == 0)].sum())
    fn = float(weights[~called & (labels == 1)].sum())
    tn = float(weights[~called & (labels == 0)].sum())
    return {
        "accuracy": _ratio(tp + tn, tp + tn + fp + fn),
        "sensitivity": _ratio(tp, tp + fn),
        "specificity": _ratio(tn, tn + fp),
        "ppv": _ratio(tp, tp + fp),
        "npv": _ratio(tn, tn + fn),
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "false_negatives": fn,
    }


def measure(
    labels: Sequence[int] | NDArray[np.int64],
    probabilities: Sequence[float] | Floats,
    thresholds: dict[str, float],
    patients: Sequence[str] | None = None,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Metrics]:
    """Measure a classifier at every operating point.

    ``labels`` (N,) are 1 for the positive class, ``probabilities`` (N,) in [0, 1]. ``patients``
    (N,) are resampled as wholes; None takes each image for one. 0 ``replicates`` leave the
    intervals None.

    Raises:
        DataError: There is no image, or a probability is not finite.
    """
    truth, given = np.asarray(labels, dtype=np.float64), np.asarray(probabilities, np.float64)
    if truth.size == 0 or not np.isfinite(given).all():
        raise DataError("Nothing to measure: no image was scored, or a probability is not finite.")
    names = np.arange(truth.size) if patients is None else np.asarray(patients)
    ranking = Ranking(truth, given)

    def figures(weights: Floats) -> dict[str, dict[str, float]]:
        auroc, auprc = ranking.areas(weights)
        at_any = {
            "auroc": auroc,
            "auprc": auprc,
            "ece": expected_calibration_error(truth, given, weights),
            "brier": float(np.average((given - truth) ** 2, weights=weights)),
        }
        return {
            name: _threshold_figures(truth, given, weights, threshold) | at_any
            for name, threshold in thresholds.items()
        }

    return bootstrap(figures, names, replicates, seed)
