"""A class for ambiguous images: who is put in it, and that nothing of it ships."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cxr.bundles.manifest import Normalisation
from cxr.data.labels import PNEUMONIA
from cxr.networks import build_network
from training.data.samples import Samples
from training.device import choose_compute
from training.fit.dummy_class import drop_dummy, margins_of, mark_ambiguous
from training.recipe import load_recipe


class ByMean(torch.nn.Module):
    """Answers by the mean of the picture, and surely what it has learnt by heart.

    Of others the grey ones are ambiguous.
    """

    def __init__(self, learnt: Samples) -> None:
        super().__init__()
        self.known = torch.from_numpy(learnt.pixels.mean(axis=(1, 2, 3)) / 255.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, 2)."""
        mean = images.mean(dim=(1, 2, 3))
        is_known = (mean[:, None] - self.known).abs().min(dim=1).values < 1e-3
        lead = torch.where(is_known, 50.0, mean - 0.5)
        return torch.stack([-lead, lead], dim=1)


@pytest.fixture
def greys() -> Samples:
    """Forty patients' images, even and of all greys."""
    levels = np.linspace(0, 255, 40).round().astype(np.uint8)
    return Samples(
        pixels=np.broadcast_to(levels[:, None, None, None], (40, 1, 4, 4)).copy(),
        labels=(levels > 100).astype(np.int64),
        names=np.array([f"{i:02d}" for i in range(40)]),
        patients=np.array([f"p{i}" for i in range(40)]),
        sources=np.array([""] * 40),
        populations=np.array([""] * 40),
    )


def test_the_greyest_are_marked_by_networks_that_did_not_learn_them(greys: Samples) -> None:
    """A tenth of the images; the halves of the first pass have no image in common."""
    learnt: dict[str, set[str]] = {}

    def make_trainer(samples: Samples, *, work_name: str) -> Any:
        learnt[work_name] = set(samples.names)
        return SimpleNamespace(
            run=lambda: None,
            result=ByMean(samples),
            normalisation=Normalisation(mean=0.0, std=1.0),
            compute=choose_compute("cpu"),
        )

    recipe = load_recipe("smoke").changed(dummy_class={"share": 0.1})
    marked = mark_ambiguous(greys, recipe, PNEUMONIA, make_trainer)
    chosen = np.flatnonzero(marked.labels == 2)
    assert chosen.tolist() == [18, 19, 20, 21]
    others = marked.labels != 2
    assert np.array_equal(marked.labels[others], greys.labels[others])
    assert not learnt["first-0"] & learnt["first-1"]
    assert learnt["first-0"] | learnt["first-1"] == set(greys.names)


def test_margin_is_the_lead_of_the_likeliest_class() -> None:
    """0 for a tie, near 1 for a clear case, also with three classes."""
    rows = np.log(np.array([[0.4, 0.4, 0.2], [0.98, 0.01, 0.01]], dtype=np.float32))
    assert margins_of(rows) == pytest.approx([0.0, 0.97], abs=1e-6)


def test_without_its_dummy_output_a_network_answers_the_same_for_the_classes() -> None:
    """Logits of the classes stay as they are, bit by bit."""
    network = build_network("small_cnn", 3).eval()
    images = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        before = network(images)
        drop_dummy(network, 2)
        assert torch.equal(network(images), before[:, :2])
    assert network(images).shape == (2, 2)
