"""Confidence intervals by resampling.

Patients, not images, are resampled, because several images of one patient are not
independent (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 8).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxr.metrics.estimate import Estimate, Metrics

Floats: TypeAlias = NDArray[np.float64]

REPLICATES = 1000
CONFIDENCE_PERCENTILES = (2.5, 97.5)


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
