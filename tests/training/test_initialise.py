"""Starting weights from files, complete or partial."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from cxr.errors import RunError
from cxr.networks import build_network
from cxr.networks.weights import save_weights
from training.fit.initialise import PIXEL_RANGE, initialise


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


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_vgg_face_layout_is_mapped_by_name(suffix: str, tmp_path: Path) -> None:
    """Its convolutions are taken, for pixels of our range; its fully connected layers are not."""
    shapes = {"conv1_1": (64, 3, 3, 3), "conv5_3": (512, 512, 3, 3), "fc6": (8, 8)}
    state = {f"{name}.weight": torch.rand(shape) for name, shape in shapes.items()}
    path = tmp_path / f"face{suffix}"
    if suffix == ".pth":
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    else:
        save_file(state, path)
    network = build_network("vgg16", 2)
    report = initialise(network, str(path))
    stem = state["conv1_1.weight"].sum(dim=1, keepdim=True) * PIXEL_RANGE
    assert torch.allclose(network.block1.conv1_1.weight, stem)
    assert torch.equal(network.block5.conv5_3.weight, state["conv5_3.weight"])
    assert report.loaded == 2
    assert [name.removeprefix("module.") for name in report.unused] == ["fc6.weight"]
    assert {"block1.conv1_1.bias", "fc1.weight"} <= set(report.missing)


@pytest.mark.parametrize(
    ("architecture", "published", "fresh"),
    [
        ("vgg16", torchvision.models.vgg16, {"fc1", "fc2"}),
        ("densenet121", lambda: torchvision.models.densenet121(num_classes=7), {"fc"}),
        ("resnet152v2", lambda: timm.create_model("resnetv2_152"), {"fc1", "fc2"}),
        ("vit_small", lambda: timm.create_model("vit_small_patch16_224"), {"fc"}),
    ],
    ids=["torchvision-vgg16", "torchvision-densenet121", "timm-resnetv2", "timm-vit"],
)
def test_published_layouts_fill_all_but_the_head(
    architecture: str, published: Callable[[], nn.Module], fresh: set[str], tmp_path: Path
) -> None:
    """Every parameter of torchvision's and timm's networks is found, whatever its name here."""
    torch.save(published().state_dict(), tmp_path / "w.pt")
    report = initialise(build_network(architecture, 2), str(tmp_path / "w.pt"))
    assert {name.split(".")[0] for name in report.missing} == fresh
    assert all(name.startswith(("classifier", "head")) for name in report.unused)


def test_densenet_computes_what_torchvision_computes(tmp_path: Path) -> None:
    """Filled from its weights, by the older names as well, it is the reference on grey."""
    reference = torchvision.models.densenet121(num_classes=2).eval()
    state = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2.", name): value
        for name, value in reference.state_dict().items()
    }
    torch.save(state, tmp_path / "w.pth")
    network = build_network("densenet121", 2).eval()
    assert initialise(network, str(tmp_path / "w.pth")).missing == ()
    gray = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(network(gray), reference(gray.expand(-1, 3, -1, -1)), atol=1e-4)


def test_own_run_of_another_task_fills_all_but_the_classifier(tmp_path: Path) -> None:
    """Three classes do not fit two; the rest of a run's weights does."""
    save_weights(build_network("cnn_bn", 3), tmp_path / "weights.safetensors")
    report = initialise(build_network("cnn_bn", 2), str(tmp_path / "weights.safetensors"))
    assert report.missing == report.unused == ("fc2.bias", "fc2.weight")


def test_pickle_is_never_run(tmp_path: Path) -> None:
    """A file of PyTorch's that holds more than tensors is refused, and so is one that is none."""
    torch.save({"conv1.weight": Path("x")}, tmp_path / "w.pt")
    (tmp_path / "z.pt").write_bytes(b"nothing of the kind")
    for name in ("w.pt", "z.pt", "absent.pt"):
        with pytest.raises(RunError, match="file of tensors only"):
            initialise(build_network("small_cnn", 2), str(tmp_path / name))
