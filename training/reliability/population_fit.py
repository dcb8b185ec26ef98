"""Fit what tells the populations of a model apart, and from everybody else."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cxr.verdict.scope import PopulationLines

Floats: TypeAlias = NDArray[np.float32]

COMPONENTS = 40
REGULARISATION = 0.01  # inverse strength
SCORE_LOST = 0.006
REST_LOST = 0.004
"""Shares of a population's validation images beyond each line: together 1 %."""

REST_SLACK = 1.2
"""Of the squared rest: other devices film the same patients."""


class Layouts(NamedTuple):
    """Layouts (N, LAYOUT_SIZE), and the place of the population of each, (N,)."""

    layouts: Floats
    places: NDArray[np.int64]


class FittedPopulations(NamedTuple):
    """What :class:`cxr.verdict.scope.ScopeGate` holds of P populations, and the lines."""

    weights: Floats
    bias: Floats
    mean: Floats
    components: Floats
    lines: tuple[PopulationLines, ...]


def fit_populations(train: Layouts, val: Layouts, others: Floats, count: int) -> FittedPopulations:
    """Fit a classifier and principal components for each of ``count`` populations.

    ``others``: Layouts of nobody's radiographs, perhaps none. A population with nothing to be told
    from is told by its components alone.
    """
    parts = [_fit_one(train, val, others, place) for place in range(count)]
    weights, bias, mean, components, lines = zip(*parts, strict=True)
    return FittedPopulations(
        np.stack(weights), np.array(bias, np.float32), np.stack(mean), np.stack(components), lines
    )


def _fit_one(
    train: Layouts, val: Layouts, others: Floats, place: int
) -> tuple[Floats, float, Floats, Floats, PopulationLines]:
    own = train.layouts[train.places == place]
    strangers = np.concatenate([train.layouts[train.places != place], others])
    weights, bias = np.zeros(own.shape[1], np.float32), 1.0
    if len(strangers):
        scaler = StandardScaler().fit(own)
        given = scaler.transform(np.concatenate([own, strangers]))
        truth = np.repeat([1, 0], [len(own), len(strangers)])
        model = LogisticRegression(C=REGULARISATION, class_weight="balanced", max_iter=1000)
        model.fit(given, truth)
        weights = (model.coef_[0] / scaler.scale_).astype(np.float32)
        bias = float(model.intercept_[0] - weights @ scaler.mean_)
    usual = PCA(min(COMPONENTS, len(own) - 1), svd_solver="covariance_eigh").fit(own)
    mean, components = usual.mean_.astype(np.float32), usual.components_.astype(np.float32)
    if len(components) < COMPONENTS:  # so that those of all populations have one shape
        missing = COMPONENTS - len(components)
        components = np.pad(components, ((0, missing), (0, 0)))
    watched = val.layouts[val.places == place]
    centred = watched - mean
    rests = (centred**2).sum(axis=1) - ((centred @ components.T) ** 2).sum(axis=1)
    lines = PopulationLines(
        score=float(np.quantile(watched @ weights + bias, SCORE_LOST)),
        rest=REST_SLACK * float(np.quantile(rests, 1.0 - REST_LOST)),
    )
    return weights, bias, mean, components, lines
