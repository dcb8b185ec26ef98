"""Several networks as one: the answer, the maps and the weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cxr.bundles.manifest import Calibration, Normalisation
from cxr.bundles.methods import METHODS, Method
from cxr.explain.grad_cam import GradCam
from cxr.networks import build_network
from cxr.networks.ensemble import Ensemble
from cxr.networks.served import ServedNetwork
from cxr.networks.weights import load_weights, save_weights
from tests.cxr.test_grad_cam import SIZE_PX, make_images, verify_against_package

NORMALISATIONS = (Normalisation(mean=0.4, std=0.2), Normalisation(mean=0.55, std=0.3))
TEMPERATURES = (0.5, 2.0)
OVERALL = 1.3


def make_ensemble(architecture: str, mirrors: tuple[bool, bool]) -> Ensemble:
    """Make an ensemble of two with random weights and lived-in batch norms."""
    torch.manual_seed(5)
    network = build_network(architecture, 2)
    assert isinstance(network, Ensemble)
    calibrations = [
        Calibration(temperature=temperature, mirror=mirror)
        for temperature, mirror in zip(TEMPERATURES, mirrors, strict=True)
    ]
    network.adopt(NORMALISATIONS, calibrations)
    network.train()(torch.rand(8, 1, SIZE_PX, SIZE_PX))
    network.eval()
    with torch.no_grad():
        network.adopt_scales(network.embed(network.features(torch.rand(8, 1, SIZE_PX, SIZE_PX))))
    return network


def surround(network: Ensemble, *, mirror: bool) -> ServedNetwork:
    """Give it as it is served."""
    return ServedNetwork(network, 0.0, 1.0, OVERALL, mirror).eval()


CASES = [
    pytest.param("small_cnn+resnet18", (True, True), id="both mirror, grids differ"),
    pytest.param("small_cnn+cnn_bn", (False, False), id="none mirrors"),
    pytest.param("small_cnn-mirrored+cnn_bn", (True, False), id="one mirrors"),
]


@pytest.mark.parametrize(("architecture", "mirrors"), CASES)
def test_probability_is_the_combination_of_the_members(
    architecture: str, mirrors: tuple[bool, bool]
) -> None:
    """The normalised geometric mean of what each answers by itself, calibrated."""
    network = make_ensemble(architecture, mirrors)
    images = torch.from_numpy(make_images())
    of_members = []
    for i, member in enumerate(network.members):
        body = getattr(member, "body", member)
        alone = ServedNetwork(
            body, NORMALISATIONS[i].mean, NORMALISATIONS[i].std, TEMPERATURES[i], mirrors[i]
        )
        with torch.no_grad():
            of_members.append(alone.eval()(images).probabilities.double())
    geometric = (of_members[0] * of_members[1]).sqrt() ** (1 / OVERALL)
    expected = geometric / geometric.sum(dim=1, keepdim=True)
    with torch.no_grad():
        given = surround(network, mirror=all(mirrors))(images).probabilities
    assert (of_members[0] - of_members[1]).abs().max() > 0.01
    np.testing.assert_allclose(given, expected, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_heatmaps_are_the_packages(method: Method) -> None:
    """The stacked maps, the mirrored ones too, are explained as those of any layer."""
    network = make_ensemble("small_cnn-mirrored+cnn_bn", (True, False))
    verify_against_package(surround(network, mirror=False), make_images(), method)


def test_heatmap_is_the_sum_of_what_each_member_adds() -> None:
    """Of the members' maps, each over its temperature, a coarse one spread over its cells."""
    network = make_ensemble("small_cnn+resnet18", (False, False))
    images = make_images()
    total = np.zeros((len(images), 6, 6))
    for member, normalisation, temperature in zip(
        network.members, NORMALISATIONS, TEMPERATURES, strict=True
    ):
        normalised = (torch.from_numpy(images) / 255.0 - normalisation.mean) / normalisation.std
        maps = member.features(normalised).detach().requires_grad_(True)  # type: ignore[operator]
        logit = member.classify(member.embed(maps))[:, 1].sum() / temperature / 2  # type: ignore[operator]
        (gradient,) = torch.autograd.grad(logit, maps)
        own = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1).detach().numpy()
        times = 6 // own.shape[1]
        total += np.kron(own, np.ones((1, times, times))) / times**2
    found = GradCam(surround(network, mirror=False)).explain(
        images, [1] * len(images), ["gradcam"] * len(images)
    )
    assert found.values.any()
    for given, expected in zip(found.values, np.maximum(total, 0), strict=True):
        if given.any():
            np.testing.assert_allclose(given / given.max(), expected / expected.max(), atol=1e-4)


def test_logits_and_embedding_of_an_explanation_are_those_served() -> None:
    """They are what the service compares before it shows a picture."""
    served = surround(make_ensemble("small_cnn+resnet18", (True, True)), mirror=True)
    images = make_images()
    found = GradCam(served).explain(images, [1] * len(images), ["gradcam"] * len(images))
    with torch.no_grad():
        expected = served(torch.from_numpy(images))
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)
    np.testing.assert_allclose(found.embedding, expected.embedding, atol=1e-3)


def test_embeddings_vary_alike() -> None:
    """A member with large numbers does not outweigh another in the shrunk covariance."""
    network = make_ensemble("small_cnn+resnet18", (False, False))
    images = torch.rand(8, 1, SIZE_PX, SIZE_PX)
    with torch.no_grad():
        before = network(images)
        embedding = network.embed(network.features(images))
        network.adopt_scales(embedding)
        small, large = network.embed(network.features(images)).split([128, 512], dim=1)
        np.testing.assert_allclose(network(images), before, atol=1e-5)
    assert float(small.var(dim=0).mean()) == pytest.approx(1.0, rel=1e-3)
    assert float(large.var(dim=0).mean()) == pytest.approx(1.0, rel=1e-3)


def test_weights_hold_what_surrounded_the_members(tmp_path: Path) -> None:
    """Read again from its file, also in float16, it normalises and calibrates as before."""
    network = make_ensemble("small_cnn-mirrored+cnn_bn", (True, False))
    save_weights(network, tmp_path / "w.safetensors", torch.float16)
    again = build_network("small_cnn-mirrored+cnn_bn", 2)
    load_weights(again, tmp_path / "w.safetensors")
    assert isinstance(again, Ensemble)
    for name in ("mean", "std", "temperature", "scale"):
        assert torch.equal(getattr(again, name), getattr(network, name))


def test_offset_reaches_the_logits() -> None:
    """Whatever the members' temperatures are."""
    network, images = make_ensemble("small_cnn+cnn_bn", (False, False)), torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        before = network(images)
        network.add_to_logits(torch.tensor([0.5, -1.0]))
        np.testing.assert_allclose(network(images) - before, [[0.5, -1.0]] * 3, atol=1e-5)


def test_stages_end_with_all_classifiers() -> None:
    """So that randomising from the output down takes the members side by side."""
    stages = build_network("small_cnn+resnet18", 2).stages
    assert stages[:2] == ("members.1.conv1", "members.1.bn1")
    assert stages[-2:] == ("members.0.fc2", "members.1.fc")
    assert len(stages) == 5 + 7


def test_maps_that_do_not_fit_are_refused() -> None:
    """At 112 pixels ResNet-18's four cells a side do not divide the other's seven."""
    network = build_network("small_cnn+resnet18", 2).eval()
    with pytest.raises(ValueError, match="side 7 and 4 do not fit"):
        network.features(torch.zeros(1, 1, 112, 112))
