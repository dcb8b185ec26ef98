"""Fit the scope gate, its thresholds on validation patients."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cxr.images.layout import LAYOUT_SIZE, describe_layout
from cxr.verdict.scope import PopulationLines, ScopeGate, ScopeThresholds
from training.fit.augment import Augmenter
from training.recipe import Augmentation
from training.reliability.outliers import FAMILIES, make_outliers
from training.reliability.population_fit import Layouts, fit_populations

Pixels: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Embed: TypeAlias = Callable[[Pixels], Floats]
"""From model inputs (N, 1, S, S) to embeddings (N, D) as served."""

TRAIN_IMAGES = 1500  # 512 numbers of an embedding need no more for a shrunk covariance
OUTLIERS = 600  # of each family; inverted ones are told by little and get twice as many
VAL_OUTLIERS = 150
FRONTAL_COPIES = 6  # changed copies of each radiograph of another hospital, which are few
FRONTAL_WEIGHT = 3
LATERALS = "lateral"
"""Family of real outliers beside the made ones."""

UNKNOWN = -1
"""Place of the population of a picture of which none is stated."""

LATERAL_COPIES = 6
REGULARISATION = 0.01  # inverse strength; from 0.001 to 0.1 hardly changes what is caught

LAYOUT_REFUSED = 0.005
EMBEDDING_REFUSED = 0.003
"""Shares of validation radiographs that may fall beyond each line: together under 1 %."""

STRESSED_REFUSED = 0.01
"""The same for changed copies and other hospitals' radiographs, which must not be refused for
looking new."""

OUTLIERS_MISSED = 0.015
EMBEDDING_SLACK = 1.5
"""Of the squared distance: radiographs of a hospital that was not in the fit lie farther out than
any seen (six files of five other sites: up to 0.99 of the line without slack)."""


@dataclass(frozen=True)
class GateData:
    """Radiographs a gate is fitted on, each (N, 1, S, S).

    Attributes:
        train_places: The place of the population of each, (N,).
        val_places: The same.
        frontal: Of another hospital: chests like those of the data set.
        frontal_places: The place of the population of each, (N,); ``UNKNOWN`` where not stated.
        others: Frontal ones of other patients: chests, but of no population.
        laterals: No frontal chests.
    """

    train: Pixels
    train_places: NDArray[np.int64]
    val: Pixels
    val_places: NDArray[np.int64]
    frontal: Pixels
    frontal_places: NDArray[np.int64]
    others: Pixels
    laterals: Pixels
    augmentation: Augmentation
    seed: int

    def some_train(self) -> NDArray[np.int64]:
        """Choose at most ``TRAIN_IMAGES`` training radiographs of each population."""
        order = np.random.default_rng(self.seed).permutation(len(self.train))
        chosen = [
            order[self.train_places[order] == place][:TRAIN_IMAGES]
            for place in range(int(self.train_places.max()) + 1)
        ]
        return np.concatenate(chosen)

    def without(self, half: int) -> GateData:
        """Leave out each second picture of other sources, from the ``half``-th, 0 or 1."""
        kept = {
            name: getattr(self, name)[1 - half :: 2]
            for name in ("frontal", "frontal_places", "others", "laterals")
        }
        return replace(self, **kept)

    def augmenter(self) -> Augmenter:
        """Return a fresh augmenter."""
        return Augmenter(self.augmentation, torch.Generator().manual_seed(self.seed))


@dataclass(frozen=True)
class Described:
    """The input of a fit as numbers; the network runs once for each radiograph.

    ``radiographs`` are layouts to accept (N, LAYOUT_SIZE), ``embedded_train`` embeddings (N, D).
    """

    radiographs: Floats
    outliers: dict[str, Floats]
    train: Layouts
    val: Layouts
    others: Floats
    val_outliers: dict[str, Floats]
    embedded_train: Floats
    embedded_val: Floats
    embedded_stressed: Floats
    embedded_frontal: Floats


def describe(data: GateData, embed: Embed, embedded_val: Floats) -> Described:
    """Describe radiographs and outliers."""
    chosen = data.some_train()
    train = data.train[chosen]
    found = _describe_layouts(data)
    return Described(
        radiographs=found.radiographs,
        outliers=found.outliers,
        train=found.train,
        val=Layouts(layouts_of(data.val), data.val_places),
        others=found.others,
        val_outliers={
            family: layouts_of(make_outliers(family, data.val, VAL_OUTLIERS, data.seed + 1))
            for family in FAMILIES
        },
        embedded_train=embed(train),
        embedded_val=embedded_val,
        embedded_stressed=embed(_changed_copies(data.val, data.augmenter(), 1)),
        embedded_frontal=embed(data.frontal) if len(data.frontal) else np.zeros((0, 1), np.float32),
    )


def describe_again(data: GateData, described: Described, embedded_frontal: Floats) -> Described:
    """Describe the same radiographs with fewer of other sources."""
    found = _describe_layouts(data)
    return replace(described, **found._asdict(), embedded_frontal=embedded_frontal)


class _Found(NamedTuple):
    radiographs: Floats
    outliers: dict[str, Floats]
    train: Layouts
    others: Floats


def _describe_layouts(data: GateData) -> _Found:
    augmenter, chosen = data.augmenter(), data.some_train()
    train, places = data.train[chosen], data.train_places[chosen]
    changed = _changed_copies(train, augmenter, 2)
    frontal = _changed_copies(data.frontal, augmenter, FRONTAL_COPIES)
    strangers = _changed_copies(data.others, augmenter, 1)
    plain, copies, strange = layouts_of(train), layouts_of(changed), layouts_of(strangers)
    elsewhere, elsewhere_changed = layouts_of(data.frontal), layouts_of(frontal)
    elsewhere_places = np.tile(data.frontal_places, 1 + FRONTAL_COPIES)
    stated = elsewhere_places != UNKNOWN
    radiographs = [plain, copies, strange, *[elsewhere] * FRONTAL_WEIGHT, elsewhere_changed]
    others = [layouts_of(data.others), strange]
    # Outliers of as many hospitals, or the gate would take the hospital for the sign.
    sources = np.concatenate(
        [train, changed[: len(train)], data.frontal, frontal[: len(data.frontal)], data.others]
    )
    count = min(OUTLIERS, len(sources))
    outliers = {
        family: layouts_of(
            make_outliers(family, sources, count * (1 + (family == "inverted")), data.seed)
        )
        for family in FAMILIES
    }
    if len(data.laterals):
        both = np.concatenate([data.laterals, data.laterals[..., ::-1]])  # to either side
        outliers[LATERALS] = layouts_of(
            np.concatenate([both, _changed_copies(both, augmenter, LATERAL_COPIES)])
        )
        others.append(outliers[LATERALS])  # whoever is seen from the side is of nobody known
    return _Found(
        np.concatenate(radiographs),
        outliers,
        Layouts(
            np.concatenate(
                [
                    plain,
                    copies[: len(train)],
                    np.concatenate([elsewhere, elsewhere_changed])[stated],
                ]
            ),
            np.concatenate([places, places, elsewhere_places[stated]]),
        ),
        np.concatenate(others),
    )


def fit_gate(
    described: Described, seed: int, left_out: Collection[str] = ()
) -> tuple[ScopeGate, ScopeThresholds]:
    """Fit a gate and choose its thresholds."""
    weights, bias = _fit_classifier(described, left_out)
    count = int(described.train.places.max()) + 1
    found = fit_populations(described.train, described.val, described.others, count)
    covariance = LedoitWolf().fit(described.embedded_train.astype(np.float64))
    gate = ScopeGate(
        layout_weights=weights,
        layout_bias=bias,
        population_weights=found.weights,
        population_bias=found.bias,
        population_mean=found.mean,
        population_components=found.components,
        embedding_mean=covariance.location_.astype(np.float32),
        # precision = W W', hence |(x - mean) W| squared is the Mahalanobis distance.
        embedding_whitening=np.linalg.cholesky(covariance.precision_).astype(np.float32),
    )
    return gate, _choose_thresholds(gate, described, left_out, found.lines)


def _fit_classifier(described: Described, left_out: Collection[str]) -> tuple[Floats, Floats]:
    others = np.concatenate([v for k, v in described.outliers.items() if k not in left_out])
    scaler = StandardScaler().fit(described.radiographs)
    given = scaler.transform(np.concatenate([described.radiographs, others]))
    truth = np.repeat([1, 0], [len(described.radiographs), len(others)])
    model = LogisticRegression(C=REGULARISATION, class_weight="balanced", max_iter=1000)
    model.fit(given, truth)
    weights = model.coef_[0] / scaler.scale_
    bias = model.intercept_ - weights @ scaler.mean_
    return weights.astype(np.float32), bias.astype(np.float32)


def _choose_thresholds(
    gate: ScopeGate,
    described: Described,
    left_out: Collection[str],
    lines: tuple[PopulationLines, ...],
) -> ScopeThresholds:
    """Choose thresholds as lenient as is useful, so that other hospitals' radiographs pass.

    The layout threshold catches outliers made from validation radiographs, and never rejects more
    than the allowed share of radiographs.
    """
    outliers = np.concatenate([v for k, v in described.val_outliers.items() if k not in left_out])
    caught = float(np.quantile(gate.layout_scores(outliers), 1.0 - OUTLIERS_MISSED))
    spared = float(np.quantile(gate.layout_scores(described.val.layouts), LAYOUT_REFUSED))
    shares = [
        (described.embedded_val, EMBEDDING_REFUSED),
        (described.embedded_stressed, STRESSED_REFUSED),
        (described.embedded_frontal, STRESSED_REFUSED),
    ]
    far = [
        float(np.quantile(gate.embedding_distances(vectors), 1.0 - share))
        for vectors, share in shares
        if len(vectors)
    ]
    return ScopeThresholds(
        layout=min(caught, spared),
        embedding=EMBEDDING_SLACK * max(far),
        populations=lines,
    )


WORKERS = 2  # NumPy holds the interpreter's lock half of the time
CHUNK = 64


def layouts_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the layout descriptors (N, LAYOUT_SIZE) of model inputs (N, 1, S, S)."""
    with ThreadPoolExecutor(WORKERS) as pool:
        found = list(pool.map(describe_layout, pixels))
    return np.stack(found) if found else np.zeros((0, LAYOUT_SIZE), dtype=np.float32)


def _changed_copies(
    pixels: NDArray[np.uint8], augmenter: Augmenter, copies: int
) -> NDArray[np.uint8]:
    found = []
    for start in range(0, copies * len(pixels), CHUNK):
        chosen = np.arange(start, min(start + CHUNK, copies * len(pixels))) % len(pixels)
        images = augmenter(torch.from_numpy(pixels[chosen]).float().div_(255.0))
        found.append(images.mul_(255.0).round_().to(torch.uint8).numpy())
    return np.concatenate(found) if found else pixels[:0]
