"""Network architectures and their weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from cxr.errors import RunError
from cxr.networks import ARCHITECTURES, build_network
from cxr.networks.served import ServedNetwork
from cxr.networks.weights import load_weights, save_weights


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_shapes(architecture: str) -> None:
    """Features, embedding and logits fit together, and the explain layer exists."""
    network = build_network(architecture, 2).eval()
    features = network.features(torch.zeros(2, 1, 96, 96))
    assert features.ndim == 4
    assert network.classify(network.embed(features)).shape == (2, 2)
    assert network.get_submodule(network.explain_layer) is not None


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_stages_cover_all_parameters(architecture: str) -> None:
    """Freezing stage by stage reaches every parameter."""
    network = build_network(architecture, 2)
    prefixes = tuple(f"{stage}." for stage in network.stages)
    assert all(name.startswith(prefixes) for name, _ in network.named_parameters())


def test_frozen_stages_keep_their_statistics() -> None:
    """In the head phase the backbone's batch norm is in evaluation mode."""
    network = build_network("resnet18", 2).train()
    network.train_only(["fc"])
    before = network.bn1.running_mean.clone()
    network(torch.rand(4, 1, 64, 64))
    assert torch.equal(network.bn1.running_mean, before)
    assert [n for n, p in network.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]


def test_unknown_names_are_refused() -> None:
    """Architecture and stage are checked by name."""
    with pytest.raises(RunError, match=r"known ones are cnn_bn, .*resnet18, small_cnn"):
        build_network("vgg99", 2)
    with pytest.raises(ValueError, match="no stage layer9"):
        build_network("resnet18", 2).train_only(["layer9"])


def test_resnet18_computes_what_torchvision_computes() -> None:
    """With the stem summed over colours it is the reference network on a grey picture."""
    reference = torchvision.models.resnet18(num_classes=2).eval()
    network = build_network("resnet18", 2).eval()
    state = reference.state_dict()
    state["conv1.weight"] = state["conv1.weight"].sum(dim=1, keepdim=True)
    network.load_state_dict(state)
    gray = torch.rand(2, 1, 96, 96)
    with torch.inference_mode():
        assert torch.allclose(network(gray), reference(gray.expand(-1, 3, -1, -1)), atol=1e-4)


def test_weights_are_read_back_and_float16_rounds_only(tmp_path: Path) -> None:
    """A file of half precision gives the same network up to rounding."""
    network = build_network("small_cnn", 2).eval()
    save_weights(network, tmp_path / "w", torch.float16)
    again = build_network("small_cnn", 2).eval()
    load_weights(again, tmp_path / "w")
    images = torch.rand(2, 1, 112, 112)
    with torch.inference_mode():
        assert torch.allclose(network(images), again(images), atol=1e-2)
    assert again.fc2.weight.dtype == torch.float32


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """The error names the file and the network."""
    save_weights(build_network("small_cnn", 2), tmp_path / "w.safetensors")
    with pytest.raises(RunError, match=r"w\.safetensors does not hold the weights of ResNet18"):
        load_weights(build_network("resnet18", 2), tmp_path / "w.safetensors")


def test_mirrored_answer_does_not_depend_on_the_side() -> None:
    """Averaged over the mirror image, a picture and its mirror image get one answer."""
    served = ServedNetwork(build_network("small_cnn", 2), 0.5, 0.2, 1.5, mirror=True).eval()
    images = torch.randint(0, 256, (2, 1, 112, 112), dtype=torch.uint8)
    with torch.inference_mode():
        answer, mirrored = served(images), served(images.flip(3))
    assert torch.allclose(answer.logits, mirrored.logits, atol=1e-5)
    assert torch.allclose(answer.probabilities.sum(dim=1), torch.ones(2))
    assert torch.allclose(answer.probabilities, torch.softmax(answer.logits / 1.5, 1))
