"""Gradients in closed form: those that autograd finds, of every network that has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.func import jacrev

from cxr.networks import ARCHITECTURES, build_network
from cxr.networks.network import Network
from cxr.networks.served import ExplainedNetwork, ServedNetwork
from tests.cxr.test_ensemble import CASES, make_ensemble
from tests.cxr.test_grad_cam import SIZE_PX, make_images, make_served

CLASSES = 3


def verify_against_autograd(network: Network, images: torch.Tensor) -> None:
    """Compare all classes' gradients; those of random maps differ between images and places."""
    with torch.no_grad():
        maps = network.features(images)
        given = network.class_gradients(maps, network.embed(maps))

    def logits(one: torch.Tensor) -> torch.Tensor:
        return network.classify(network.embed(one[None]))[0]

    expected = torch.stack([jacrev(logits)(one) for one in maps])  # (N, K, C, h, w)
    assert given.shape == expected.shape
    largest = float(expected.abs().max())
    assert largest > 0
    np.testing.assert_allclose(given, expected.detach(), atol=1e-5 * largest)


@pytest.mark.parametrize("size_px", [SIZE_PX, 112, 224])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_closed_form_is_what_autograd_finds(architecture: str, size_px: int) -> None:
    """Every registered network, on grids that its pooling divides and on others."""
    torch.manual_seed(2)
    network = build_network(architecture, CLASSES).eval().requires_grad_(False)
    verify_against_autograd(network, torch.randn(2, 1, size_px, size_px))


@pytest.mark.parametrize(("architecture", "mirrors"), CASES)
def test_closed_form_of_an_ensemble(architecture: str, mirrors: tuple[bool, bool]) -> None:
    """Through scales, temperatures, coarse grids and members that mirror."""
    network = make_ensemble(architecture, mirrors).requires_grad_(False)
    verify_against_autograd(network, torch.rand(2, 1, SIZE_PX, SIZE_PX))


def test_support_vector_machines_have_none() -> None:
    """They say so."""
    network = build_network("small_cnn-svm_rbf", 2)
    maps = torch.zeros(1, 128, 6, 6)
    with pytest.raises(NotImplementedError, match="autograd"):
        network.class_gradients(maps, network.embed(maps))


@pytest.mark.parametrize("mirror", [False, True], ids=["one pass", "mirrored"])
def test_explained_network_answers_as_served(mirror: bool) -> None:
    """Logits and embedding are the served ones, and each pass has maps of its own."""
    served: ServedNetwork = make_served("small_cnn", mirror=mirror)
    images = torch.from_numpy(make_images())
    with torch.no_grad():
        expected, given = served(images), ExplainedNetwork(served)(images)
        if mirror:
            flipped = ExplainedNetwork(served)(images.flip(3))
            torch.testing.assert_close(flipped.maps.flip(1), given.maps)
            torch.testing.assert_close(flipped.gradients.flip(1), given.gradients)
    torch.testing.assert_close(given.logits, expected.logits)
    torch.testing.assert_close(given.embedding, expected.embedding)
    assert given.maps.shape[:2] == (len(images), 1 + mirror)
