"""Measure what a network's answers depend on: the lungs, or what is beside them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from cxr.data.labels import Task
from cxr.explain.evidence import Dependence
from cxr.metrics.bootstrap import REPLICATES, bootstrap
from cxr.metrics.estimate import Estimate
from training.data.samples import Samples
from training.fit.guide import widened
from training.report.bootstrap import estimate_auroc, estimate_mean

Scorer: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float64]]
"""From model inputs (N, 1, S, S) to the finding's probabilities (N,)."""

MARGIN = 1 / 56  # of the side, by which the lungs are widened
BORDER = 0.1  # of the side: what is left when borders are all there is
MIDDLE_GREY = 128


def measure_dependence(
    samples: Samples,
    lungs: NDArray[np.uint8],
    scorer: Scorer,
    threshold: float,
    task: Task,
    seed: int,
) -> Dependence:
    """Blank the outside of the lungs, the lungs, and all but the borders.

    What is blanked becomes black, or the mean grey of what is left; each figure is the worse one of
    the two.

    Args:
        samples: Radiographs of one population.
        lungs: Their masks, (N, 1, 112, 112), 0 or 255.
        scorer: The network as it is served.
        threshold: Of the operating point that decides.
        task: The question.
        seed: For resampling.
    """
    pixels, patients = samples.pixels, samples.patients
    size = pixels.shape[-1]
    masks = torch.nn.functional.interpolate(torch.from_numpy(lungs).float() / 255.0, (size, size))
    inside = widened(masks, max(1, round(size * MARGIN))).numpy() > 0.5
    truth = task.is_positive(samples.labels)
    intact = scorer(pixels)
    changes, kept, without = [], [], []
    for fill in (_black, _mean_of):
        lungs_only = scorer(np.where(inside, pixels, fill(pixels, inside)))
        changes.append(median_of(np.abs(lungs_only - intact), patients, seed))
        same = (lungs_only >= threshold) == (intact >= threshold)
        kept.append(estimate_mean(same, patients, seed))
        lungless = scorer(np.where(inside, fill(pixels, ~inside), pixels))
        without.append(estimate_auroc(truth, lungless, patients, seed))
    edge = round(size * BORDER)
    framed = pixels.copy()
    framed[..., edge:-edge, edge:-edge] = MIDDLE_GREY
    return Dependence(
        images=len(samples),
        auroc=estimate_auroc(truth, intact, patients, seed),
        change_without_outside=max(changes, key=_value),
        kept_without_outside=min(kept, key=_value),
        auroc_without_lungs=max(without, key=_value),
        auroc_of_borders=estimate_auroc(truth, scorer(framed), patients, seed),
    )


def _black(pixels: NDArray[np.uint8], kept: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.zeros((len(pixels), 1, 1, 1), np.uint8)


def _mean_of(pixels: NDArray[np.uint8], kept: NDArray[np.bool_]) -> NDArray[np.uint8]:
    total = (pixels * kept).sum(axis=(1, 2, 3), dtype=np.float64)
    mean = total / np.maximum(kept.sum(axis=(1, 2, 3)), 1)
    return np.rint(mean).astype(np.uint8)[:, np.newaxis, np.newaxis, np.newaxis]


def median_of(values: NDArray[np.float64], patients: NDArray[np.str_], seed: int) -> Estimate:
    """Return the median of values (N,) with its 95 % interval, resampling whole patients."""
    order = np.argsort(values, kind="stable")

    def median(weights: NDArray[np.float64]) -> dict[str, dict[str, float]]:
        reached = np.cumsum(weights[order])
        place = int(np.searchsorted(reached, reached[-1] / 2.0))
        return {"": {"median": float(values[order[min(place, len(order) - 1)]])}}

    return bootstrap(median, patients, REPLICATES, seed)[""]["median"]


def _value(estimate: Estimate) -> float:
    return float("nan") if estimate.value is None else estimate.value
