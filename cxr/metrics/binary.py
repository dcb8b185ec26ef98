"""How good a classifier is: figures with bootstrap confidence intervals.

Patients, not images, are resampled, because several images of one patient are not
independent (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxr.errors import DataError
from cxr.metrics.estimate import Estimate
from cxr.metrics.ranking import Ranking

Floats: TypeAlias = NDArray[np.float64]

ECE_BINS = 15  # the number of Guo et al. 2017, kept by most who report ECE
REPLICATES = 1000
CONFIDENCE_PERCENTILES = (2.5, 97.5)


Metrics: TypeAlias = dict[str, Estimate]
"""Keys: accuracy, sensitivity, specificity, ppv, npv, f1, auroc, auprc, ece, brier,
false_negatives, and those of :mod:`cxr.metrics.classes`. A figure that is not defined (no positive
image, say) has the value None."""


def expected_calibration_error(labels: Floats, probabilities: Floats, weights: Floats) -> float:
    """Mean distance of predicted and observed frequency over bins of equal width.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, for the
    positive class's probability.

    Args:
        labels: Shape (N,), 0 or 1.
        probabilities: Shape (N,), in [0, 1].
        weights: Shape (N,), not negative.
    """
    bins = np.minimum((probabilities * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = np.bincount(bins, weights * (probabilities - labels), minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0 else float("nan")


def threshold_figures(
    labels: Floats, probabilities: Floats, weights: Floats, threshold: float
) -> dict[str, float]:
    """Figures that depend on the threshold. Arguments as in :func:`measure`."""
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


def ranking_figures(
    ranking: Ranking, labels: Floats, probabilities: Floats, weights: Floats
) -> dict[str, float]:
    """Figures that need no threshold. Arguments as in :func:`measure`; all images' ranking."""
    auroc, auprc = ranking.areas(weights)
    return {
        "auroc": auroc,
        "auprc": auprc,
        "ece": expected_calibration_error(labels, probabilities, weights),
        "brier": float(np.average((probabilities - labels) ** 2, weights=weights)),
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

    Args:
        labels: Shape (N,), 1 for the positive class.
        probabilities: Shape (N,), of the positive class, in [0, 1].
        thresholds: Operating point names with their thresholds.
        patients: Shape (N,), resampled as wholes; None takes each image for a patient.
        replicates: Bootstrap replicates; 0 leaves the intervals None.
        seed: Of the resampling.

    Returns:
        For each operating point its figures.

    Raises:
        DataError: There is no image, or a probability is not finite.
    """
    truth, given = np.asarray(labels, dtype=np.float64), np.asarray(probabilities, np.float64)
    if truth.size == 0 or not np.isfinite(given).all():
        raise DataError("Nothing to measure: no image was scored, or a probability is not finite.")
    names = np.arange(truth.size) if patients is None else np.asarray(patients)

    ranking = Ranking(truth, given)

    def figures(weights: Floats) -> dict[str, dict[str, float]]:
        at_any = ranking_figures(ranking, truth, given, weights)
        return {
            name: threshold_figures(truth, given, weights, threshold) | at_any
            for name, threshold in thresholds.items()
        }

    return bootstrap(figures, names, replicates, seed)


def bootstrap(
    figures: Callable[[Floats], dict[str, dict[str, float]]],
    patients: NDArray[np.generic],
    replicates: int,
    seed: int,
) -> dict[str, Metrics]:
    """Give figures with the interval they have when other patients are drawn.

    Args:
        figures: Of weights (N,) of the images; a figure that is not defined is not a number.
        patients: Shape (N,), resampled as wholes.
        replicates: How often; 0 leaves the intervals None.
        seed: Of the resampling.
    """
    _, group = np.unique(patients, return_inverse=True)
    rng = np.random.default_rng(seed)
    count = int(group.max()) + 1
    drawn = [
        figures(np.bincount(rng.integers(0, count, count), minlength=count)[group].astype(float))
        for _ in range(replicates)
    ]
    return {
        point: {
            key: _estimate(value, [replicate[point][key] for replicate in drawn])
            for key, value in values.items()
        }
        for point, values in figures(np.ones(len(group))).items()
    }


def _estimate(value: float, drawn: list[float]) -> Estimate:
    finite = np.asarray(drawn, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    low, high = np.percentile(finite, CONFIDENCE_PERCENTILES) if finite.size else (None, None)
    return Estimate(
        value=value if np.isfinite(value) else None,
        low=None if low is None else float(low),
        high=None if high is None else float(high),
    )
