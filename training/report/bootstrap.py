"""Means and AUROCs with confidence intervals from resampled patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxr.metrics.binary import Ranking
from cxr.metrics.bootstrap import CONFIDENCE_PERCENTILES, REPLICATES, bootstrap
from cxr.metrics.estimate import Estimate


def estimate_mean(values: ArrayLike, patients: NDArray[np.str_], seed: int) -> Estimate:
    """Return the mean over images with its 95 % interval, resampling whole patients.

    Args:
        values: Shape (N,); NaN is left out.
        patients: Shape (N,).
        seed: Seed of the resampling.
    """
    given = np.asarray(values, dtype=np.float64)
    kept = np.isfinite(given)
    if not kept.any():
        return Estimate(value=None, low=None, high=None)
    _, group = np.unique(patients[kept], return_inverse=True)
    sums, sizes = np.bincount(group, given[kept]), np.bincount(group)
    drawn = np.random.default_rng(seed).integers(0, len(sums), (REPLICATES, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(means, CONFIDENCE_PERCENTILES)
    return Estimate(value=float(given[kept].mean()), low=float(low), high=float(high))


def estimate_auroc(
    truth: NDArray[np.bool_], values: ArrayLike, patients: NDArray[np.str_], seed: int
) -> Estimate:
    """Return an AUROC with its 95 % interval; undefined if a side is missing.

    Args:
        truth: Shape (N,).
        values: Shape (N,), larger where ``truth`` is expected; ties count half.
        patients: Shape (N,).
        seed: Seed of the resampling.
    """
    ranking = Ranking(truth.astype(np.float64), np.asarray(values, dtype=np.float64))
    found = bootstrap(
        lambda weights: {"": {"auroc": ranking.areas(weights)[0]}}, patients, REPLICATES, seed
    )
    return found[""]["auroc"]
