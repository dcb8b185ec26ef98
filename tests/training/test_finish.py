"""From a trained network to what ships."""

from __future__ import annotations

import copy

import numpy as np
import torch

from cxr.data.labels import PNEUMONIA
from cxr.networks import build_network
from training.data.samples import Samples
from training.runs.finish import restore_prior


def test_prior_moves_the_odds_by_the_share_of_the_classes() -> None:
    """With three positives to a negative the odds triple, for every image alike."""
    labels = np.array([0, 1, 1, 1])
    names = np.array(["a", "b", "c", "d"])
    samples = Samples(np.zeros((4, 1, 2, 2), np.uint8), labels, names, names, names, names)
    network = build_network("small_cnn", 2).eval()
    before = copy.deepcopy(network)
    restore_prior(network, samples, PNEUMONIA)
    images = torch.rand(5, 1, 112, 112)
    with torch.inference_mode():
        moved = network(images).diff(dim=1) - before(images).diff(dim=1)
    assert torch.allclose(moved, torch.full((5, 1), float(np.log(3.0))), atol=1e-5)
