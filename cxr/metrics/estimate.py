"""Figures with confidence intervals.

Patients, not images, are resampled, because several images of one patient are not
independent (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 8).
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Floats: TypeAlias = NDArray[np.float64]

Z_95 = NormalDist().inv_cdf(0.975)
"""Half of a 95 % interval, in standard errors: 2.5 % of a normal distribution lie above it."""

REPLICATES = 1000
CONFIDENCE_PERCENTILES = (2.5, 97.5)

COUNTS = frozenset({"false_negatives"})
"""Figures that are numbers of images; all others are shares."""


class Estimate(BaseModel):
    """A figure with its 95 % confidence interval."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    value: float | None
    low: float | None
    high: float | None


Metrics: TypeAlias = dict[str, Estimate]
"""Keys: accuracy, sensitivity, specificity, ppv, npv, f1, auroc, auprc, ece, brier,
false_negatives, and those of :mod:`cxr.metrics.classes`."""


def format_estimate(figure: str, estimate: Estimate) -> str:
    """Return ``0.973 (0.961 to 0.984)``, or a dash for an undefined figure."""
    if estimate.value is None:
        return "-"
    digits = 0 if figure in COUNTS else 3
    text = f"{estimate.value:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def bootstrap(
    figures: Callable[[Floats], dict[str, dict[str, float]]],
    patients: NDArray[np.generic],
    replicates: int,
    seed: int,
) -> dict[str, Metrics]:
    """Return figures with the interval they have when other patients are drawn.

    ``figures`` takes weights (N,) of the images; an undefined figure is NaN. No ``replicates``
    leave the intervals None.
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
