"""KID and nearest neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cxr.bundles.manifest import WEIGHTS_NAME
from cxr.bundles.run import open_run
from cxr.networks.served import served_network
from tests.training.gan.conftest import CPU
from training.experiments.gan.evaluator import kid, memorisation, nearest, squared_mmd
from training.experiments.gan.features import FeatureSpace


def test_squared_mmd_is_what_the_formula_gives_by_hand() -> None:
    """Two points against two in one dimension: (xy + 1)^3, without the diagonals."""
    x, y = np.array([[0.0], [1.0]], np.float32), np.array([[1.0], [2.0]], np.float32)
    # within x: (0 + 1)^3 = 1; within y: (2 + 1)^3 = 27; across: 1, 1, 8, 27, mean 9.25
    assert squared_mmd(x, y) == pytest.approx(1.0 + 27.0 - 2.0 * 9.25)


def test_the_dimension_scales_the_kernel() -> None:
    """In two dimensions half of the inner product counts."""
    x, y = np.array([[1, 1], [1, 1]], np.float32), np.array([[0, 0], [0, 0]], np.float32)
    assert squared_mmd(x, y) == pytest.approx(8.0 + 1.0 - 2.0)


def test_kid_is_about_nothing_for_equal_sets_and_grows_with_distance() -> None:
    """Two draws of one distribution: within four standard errors of 0 over many subsets."""
    draw = np.random.default_rng(0)
    x, y = (draw.normal(size=(300, 4)).astype(np.float32) for _ in range(2))
    same, apart = kid(x, y, 50, 60, seed=1), kid(x, y + 1.0, 50, 60, seed=1)
    assert abs(same.value) < 0.05
    assert apart.value > 10 * abs(same.value)
    assert 0.0 < same.standard_error < 0.05
    assert kid(x, y, 50, 60, seed=1) == same


def test_copies_are_found_out() -> None:
    """Generated images that are training images lie at 0; those drawn anew lie like others."""
    draw = np.random.default_rng(0)
    train, val, fresh = (draw.normal(size=(200, 5)).astype(np.float32) for _ in range(3))
    labels = np.zeros(200, np.int64)
    copied = memorisation(train[::-1], labels, val, labels, train, ["A"])["A"]
    honest = memorisation(fresh, labels, val, labels, train, ["A"])["A"]
    assert copied.generated == 0.0
    assert copied.close_share == 1.0
    assert honest.close_share < 0.06
    assert honest.generated == pytest.approx(honest.held_out, rel=0.1)
    distances, index = nearest(train[:3] + 0.001, train)
    assert index.tolist() == [0, 1, 2]
    assert distances.max() < 0.01


def test_features_are_the_embedding_of_the_run(smoke_run: Path) -> None:
    """At the network's own size they are what is served; smaller images are enlarged to it."""
    space, run = FeatureSpace(smoke_run, CPU), open_run(smoke_run)
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (3, 1, 112, 112), np.uint8)
    with torch.inference_mode():
        served = served_network(smoke_run / WEIGHTS_NAME, run)(torch.from_numpy(pixels))
    assert np.allclose(space.embed(pixels), served.embedding.numpy(), atol=1e-4)
    assert space.embed(pixels[:, :, ::2, ::2]).shape == served.embedding.shape
    assert space.about.weights_sha256 == run.weights_sha256
