"""Means and areas under the curve with confidence intervals from resampled patients."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cxr.estimate import Estimate
from cxr.metrics import CONFIDENCE_PERCENTILES, REPLICATES


def estimate_mean(values: ArrayLike, patients: NDArray[np.str_], seed: int) -> Estimate:
    """Give the mean over images with its 95 % interval.

    Patients are resampled as wholes, as in :func:`cxr.metrics.measure`.

    Args:
        values: Shape (N,), one for each image; those that are not a number are left out.
        patients: Shape (N,), pseudonyms.
        seed: Of the resampling.
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


REPLICATES_AT_A_TIME = 100  # a few megabytes of weights for thousands of images


def estimate_auroc(
    truth: NDArray[np.bool_], values: ArrayLike, patients: NDArray[np.str_], seed: int
) -> Estimate:
    """Give the AUROC of a number with its 95 % interval.

    The values are sorted once, so that a thousand replicates take a tenth of a second for
    thousands of images. Patients are resampled as wholes.

    Args:
        truth: Shape (N,).
        values: Shape (N,), larger where ``truth`` is expected; ties count half.
        patients: Shape (N,), pseudonyms.
        seed: Of the resampling.
    """
    if truth.all() or not truth.any():
        return Estimate(value=None, low=None, high=None)
    given = np.asarray(values, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(given[order]) > 0])
    _, group = np.unique(patients, return_inverse=True)
    count = int(group.max()) + 1
    rng = np.random.default_rng(seed)
    areas = []
    for _ in range(0, REPLICATES, REPLICATES_AT_A_TIME):
        drawn = rng.multinomial(count, np.full(count, 1.0 / count), REPLICATES_AT_A_TIME)
        areas.append(_areas(drawn[:, group[order]], truth[order], starts))
    spread = np.concatenate(areas)
    low, high = np.nanpercentile(spread, CONFIDENCE_PERCENTILES)
    whole = _areas(np.ones((1, len(given)), dtype=np.int64), truth[order], starts)
    return Estimate(value=float(whole[0]), low=float(low), high=float(high))


def _areas(
    weights: NDArray[np.int64], truth: NDArray[np.bool_], starts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Give the AUROC under each row of weights (R, N), for images sorted by value.

    ``starts`` are the first images of each value. A row without one of the sides gives NaN.
    """
    positive = np.add.reduceat(weights * truth, starts, axis=1).astype(np.float64)
    negative = np.add.reduceat(weights * ~truth, starts, axis=1).astype(np.float64)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    won = (positive * below).sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
