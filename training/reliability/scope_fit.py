"""Fit the scope gate, its thresholds on validation patients."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from cxr.images.layout import LAYOUT_SIZE, describe_layout
from cxr.verdict.scope import ScopeGate, ScopeThresholds
from training.fit.augment import Augmenter
from training.recipe import Augmentation
from training.reliability.outliers import FAMILIES, make_outliers

Pixels: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Embed: TypeAlias = Callable[[Pixels], Floats]
"""From model inputs (N, 1, S, S) to embeddings (N, D) as served."""

TRAIN_IMAGES = 1500  # 512 numbers of an embedding need no more for a shrunk covariance
OUTLIERS = 600  # of each family; inverted ones are told by little and get twice as many
VAL_OUTLIERS = 150
FRONTAL_COPIES = 6  # changed copies of each radiograph of another hospital, which are few
FRONTAL_WEIGHT = 3
REGULARISATION = 0.01  # inverse strength; from 0.001 to 0.1 hardly changes what is caught
COMPONENTS = 20  # from 20 to 80 made no difference to which adults are found unusual

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

UNUSUAL_SHARE = 0.01


@dataclass(frozen=True)
class GateData:
    """Radiographs a gate is fitted on, (N, 1, S, S)."""

    train: Pixels
    val: Pixels
    frontal: Pixels
    augmentation: Augmentation
    seed: int

    def some_train(self) -> Pixels:
        """Return at most ``TRAIN_IMAGES`` training radiographs."""
        order = np.random.default_rng(self.seed).permutation(len(self.train))
        return self.train[order[:TRAIN_IMAGES]]

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
    train: Floats
    val: Floats
    val_outliers: dict[str, Floats]
    embedded_train: Floats
    embedded_val: Floats
    embedded_stressed: Floats
    embedded_frontal: Floats


def describe(data: GateData, embed: Embed, embedded_val: Floats) -> Described:
    """Describe radiographs and outliers."""
    train = data.some_train()
    layouts = _describe_layouts(data, train)
    return Described(
        radiographs=layouts[0],
        outliers=layouts[1],
        train=layouts_of(train),
        val=layouts_of(data.val),
        val_outliers={
            family: layouts_of(make_outliers(family, data.val, VAL_OUTLIERS, data.seed + 1))
            for family in FAMILIES
        },
        embedded_train=embed(train),
        embedded_val=embedded_val,
        embedded_stressed=embed(_changed_copies(data.val, data.augmenter(), 1)),
        embedded_frontal=embed(data.frontal) if len(data.frontal) else np.zeros((0, 1), np.float32),
    )


def without_frontal(data: GateData, described: Described, kept: NDArray[np.bool_]) -> Described:
    """Keep only the ``kept`` (M,) radiographs of other hospitals."""
    part = replace(data, frontal=data.frontal[kept])
    radiographs, outliers = _describe_layouts(part, data.some_train())
    return replace(
        described,
        radiographs=radiographs,
        outliers=outliers,
        embedded_frontal=described.embedded_frontal[kept],
    )


def _describe_layouts(data: GateData, train: Pixels) -> tuple[Floats, dict[str, Floats]]:
    augmenter = data.augmenter()
    changed = _changed_copies(train, augmenter, 2)
    frontal = _changed_copies(data.frontal, augmenter, FRONTAL_COPIES)
    radiographs = [layouts_of(train), layouts_of(changed)]
    if len(data.frontal):
        radiographs += [layouts_of(data.frontal)] * FRONTAL_WEIGHT + [layouts_of(frontal)]
    # Outliers of as many hospitals, or the gate would take the hospital for the sign.
    sources = np.concatenate(
        [train, changed[: len(train)], data.frontal, frontal[: len(data.frontal)]]
    )
    count = min(OUTLIERS, len(sources))
    outliers = {
        family: layouts_of(
            make_outliers(family, sources, count * (1 + (family == "inverted")), data.seed)
        )
        for family in FAMILIES
    }
    return np.concatenate(radiographs), outliers


def fit_gate(
    described: Described, seed: int, left_out: Collection[str] = ()
) -> tuple[ScopeGate, ScopeThresholds]:
    """Fit a gate and choose its thresholds."""
    weights, bias = _fit_classifier(described, left_out)
    components = min(COMPONENTS, len(described.train) - 1)
    usual = PCA(components, random_state=seed).fit(described.train)
    covariance = LedoitWolf().fit(described.embedded_train.astype(np.float64))
    gate = ScopeGate(
        layout_weights=weights,
        layout_bias=bias,
        usual_mean=usual.mean_.astype(np.float32),
        usual_components=usual.components_.astype(np.float32),
        embedding_mean=covariance.location_.astype(np.float32),
        # precision = W W', hence |(x - mean) W| squared is the Mahalanobis distance.
        embedding_whitening=np.linalg.cholesky(covariance.precision_).astype(np.float32),
    )
    return gate, _choose_thresholds(gate, described, left_out)


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
    gate: ScopeGate, described: Described, left_out: Collection[str]
) -> ScopeThresholds:
    """Choose thresholds as lenient as is useful, so that other hospitals' radiographs pass.

    The layout threshold catches outliers made from validation radiographs, and never rejects more
    than the allowed share of radiographs.
    """
    outliers = np.concatenate([v for k, v in described.val_outliers.items() if k not in left_out])
    caught = float(np.quantile(gate.layout_scores(outliers), 1.0 - OUTLIERS_MISSED))
    spared = float(np.quantile(gate.layout_scores(described.val), LAYOUT_REFUSED))
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
        unusual=float(np.quantile(gate.unusual_rests(described.val), 1.0 - UNUSUAL_SHARE)),
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
