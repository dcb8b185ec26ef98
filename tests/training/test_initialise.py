"""Starting weights from files, complete or partial."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from cxr.errors import RunError
from cxr.networks import build_network
from training.initialise import initialise


def test_partial_colour_file_is_taken_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What fits is loaded, the stem is summed, the rest is named."""
    state = torchvision.models.resnet18().state_dict()
    kept = {k: v.half() for k, v in state.items() if k.startswith(("conv1", "layer1"))}
    save_file(kept | {"extra": torch.zeros(3)}, tmp_path / "w.safetensors")
    network = build_network("resnet18", 2)
    with caplog.at_level(logging.INFO):
        report = initialise(network, str(tmp_path / "w.safetensors"))
    summed = state["conv1.weight"].half().float().sum(dim=1, keepdim=True)
    assert torch.equal(network.conv1.weight, summed)
    assert torch.equal(
        network.layer1[0].conv1.weight, state["layer1.0.conv1.weight"].half().float()
    )
    assert "fc.weight" in report.missing
    assert "fc.weight" in caplog.text
    assert report.unused == ("extra",)


def test_none_leaves_the_network_alone() -> None:
    """From scratch means from scratch."""
    network = build_network("small_cnn", 2)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    assert initialise(network, "none").loaded == 0
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_file_that_fits_nothing_is_refused(tmp_path: Path) -> None:
    """Another network's weights are not silently ignored."""
    save_file({"other": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(RunError, match="no tensor fits ResNet18"):
        initialise(build_network("resnet18", 2), str(tmp_path / "w.safetensors"))


def test_unreadable_file_and_missing_hub_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is none, a network torchvision has no weights for, and no connection."""
    (tmp_path / "w").write_bytes(b"not safetensors")
    with pytest.raises(RunError, match="not a safetensors file"):
        initialise(build_network("resnet18", 2), str(tmp_path / "w"))
    with pytest.raises(RunError, match="no weights for smallcnn"):
        initialise(build_network("small_cnn", 2), "imagenet")

    def no_connection(*_: object, **__: object) -> None:
        raise OSError

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", no_connection)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_connection)
    with pytest.raises(RunError, match="could not be downloaded"):
        initialise(build_network("resnet18", 2), "imagenet")


def test_shared_partial_weights_fit(shared_data: Path) -> None:
    """The ImageNet file at hand fills all but the classifier and one block's convolutions."""
    path = shared_data.parent / "weights" / "resnet18_imagenet1k_partial.safetensors"
    report = initialise(build_network("resnet18", 2), str(path))
    assert report.missing == (
        "fc.bias",
        "fc.weight",
        "layer4.1.conv1.weight",
        "layer4.1.conv2.weight",
    )
