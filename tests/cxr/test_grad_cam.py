"""Heatmaps: against the grad-cam package, and what a call leaves behind."""

from __future__ import annotations

import copy
import gc
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from cxr.bundles.bundle import open_bundle
from cxr.bundles.methods import METHODS, Method
from cxr.explain.grad_cam import GradCam
from cxr.explain.weighing import scale
from cxr.networks import build_network
from cxr.networks.served import ServedNetwork, served_network

SHIPPED = ("resnet18", "small_cnn")
PACKAGE = {"gradcam": GradCAM, "gradcam_plus_plus": GradCAMPlusPlus, "layercam": LayerCAM}
SIZE_PX = 96
IMAGES = 4


def make_images(count: int = IMAGES, size_px: int = SIZE_PX) -> NDArray[np.uint8]:
    """Make model inputs with blobs in different places."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, 1, 6, 6), dtype=np.uint8)
    large = np.kron(small, np.ones((1, 1, size_px // 6 + 1, size_px // 6 + 1), dtype=np.uint8))
    return np.ascontiguousarray(large[:, :, :size_px, :size_px])


def make_served(architecture: str, *, mirror: bool = False) -> ServedNetwork:
    """Make a network with random but fixed weights and lived-in batch norms."""
    generator_state = torch.get_rng_state()
    torch.manual_seed(3)
    network = build_network(architecture, 2)
    network.train()(torch.randn(8, 1, SIZE_PX, SIZE_PX))
    torch.set_rng_state(generator_state)
    return ServedNetwork(network.eval(), 0.5, 0.25, 1.0, mirror).eval()


def package_maps(
    served: ServedNetwork, view: torch.Tensor, targets: Sequence[int], method: Method
) -> NDArray[np.float32]:
    """Give the package's maps (N, h, w) before it clips and stretches them."""
    network = copy.deepcopy(served.network).requires_grad_(False)
    layer = network.get_submodule(network.explain_layer).requires_grad_(True)
    wanted = [ClassifierOutputTarget(target) for target in targets]
    with PACKAGE[method](network, [layer]) as cam:
        # A layer without parameters has a gradient only if the image has one.
        cam(view.clone().requires_grad_(next(layer.parameters(), None) is None), wanted)
        kept = cam.activations_and_grads
        [activations], [gradients] = kept.activations, kept.gradients
        pair = activations.numpy(), gradients.numpy()
        return cam.get_cam_image(view, layer, wanted, *pair, eigen_smooth=False)


def verify_against_package(
    served: ServedNetwork, images: NDArray[np.uint8], method: Method
) -> None:
    """Compare both classes; at least half of the maps must not be empty."""
    images = np.repeat(images, 2, axis=0)
    targets = [0, 1] * (len(images) // 2)
    view = served.normalise(torch.from_numpy(images))
    expected = package_maps(served, view, targets, method)
    if served.mirror:  # what is averaged when answering is averaged here
        expected = (expected + package_maps(served, view.flip(3), targets, method)[:, :, ::-1]) / 2
    expected = np.maximum(expected, 0)
    given = GradCam(served).explain(images, targets, [method] * len(images)).values
    shown = [pair for pair in zip(given, expected, strict=True) if pair[0].any()]
    assert len(shown) >= len(images) / 2
    for ours, theirs in shown:
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] >= 0.999
        np.testing.assert_allclose(ours / ours.max(), theirs / theirs.max(), atol=1e-3)


@pytest.mark.parametrize("mirror", [False, True], ids=["one pass", "mirrored"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", SHIPPED)
def test_heatmaps_are_the_packages(architecture: str, method: Method, mirror: bool) -> None:
    """Every method on both architectures that ship, with random weights."""
    verify_against_package(make_served(architecture, mirror=mirror), make_images(), method)


@pytest.mark.parametrize("architecture", ["densenet121", "vit_small"])
def test_heatmaps_of_further_networks_are_the_packages(architecture: str) -> None:
    """Dense blocks and patches, too."""
    verify_against_package(make_served(architecture), make_images(2), "layercam")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SHIPPED)
def test_heatmaps_of_shipped_models_are_the_packages(
    name: str, method: Method, shipped_bundles: Path
) -> None:
    """The same on the weights that are served, on the bundle's golden images."""
    bundle = open_bundle(shipped_bundles / name)
    served = served_network(bundle.weights_path, bundle.manifest)
    verify_against_package(served, bundle.golden_tensors().images[::3], method)


@pytest.mark.parametrize("mirror", [False, True], ids=["one pass", "mirrored"])
@pytest.mark.parametrize("architecture", SHIPPED)
def test_logits_are_those_served(architecture: str, mirror: bool) -> None:
    """What is explained is what the whole network answers."""
    served, images = make_served(architecture, mirror=mirror), make_images()
    found = GradCam(served).explain(images, [1] * IMAGES, ["gradcam"] * IMAGES)
    with torch.no_grad():
        expected = served(torch.from_numpy(images)).logits
    np.testing.assert_allclose(found.logits, expected, atol=1e-4)


def test_each_image_has_its_own_class_and_method() -> None:
    """A batch of different wishes gives what each would get alone."""
    grad_cam, images = GradCam(make_served("small_cnn")), make_images()
    targets, methods = [0, 1, 1, 0], ["gradcam", "layercam", "gradcam_plus_plus", "layercam"]
    together = grad_cam.explain(images, targets, methods)  # type: ignore[arg-type]
    for i in range(IMAGES):
        alone = grad_cam.explain(images[i : i + 1], targets[i : i + 1], methods[i : i + 1])  # type: ignore[arg-type]
        np.testing.assert_allclose(together.values[i], alone.values[0], atol=1e-4)
    other = grad_cam.explain(images, [1 - t for t in targets], methods)  # type: ignore[arg-type]
    assert np.abs(together.values - other.values).max() > 0.1


def test_nothing_is_left_behind() -> None:
    """No hook, no gradient, no change of the network that was given."""
    served = make_served("resnet18", mirror=True)
    before = {name: value.clone() for name, value in served.state_dict().items()}
    grad_cam = GradCam(served)
    grad_cam.explain(make_images(), [1] * IMAGES, ["gradcam"] * IMAGES)
    for network in (served, grad_cam._head, grad_cam._body):
        for module in network.modules():
            assert not module._forward_hooks
            assert not module._forward_pre_hooks
            assert not module._backward_hooks
        assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in served.state_dict().items())
    assert all(parameter.requires_grad for parameter in served.parameters())


def resident_bytes() -> int:
    """Give the memory this process takes (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_stays_flat() -> None:
    """Hundreds of calls keep nothing: neither graphs nor feature maps."""
    grad_cam, images = GradCam(make_served("small_cnn", mirror=True)), make_images(2)

    def run(calls: int) -> int:
        for _ in range(calls):
            grad_cam.explain(images, [1, 0], ["gradcam_plus_plus", "layercam"])
        gc.collect()
        return resident_bytes()

    before = run(40)
    # One call's feature maps of the last layer alone are 2 x 2 x 128 x 6 x 6 x 4 bytes = 74 kB;
    # kept over 300 calls they would be 22 MB.
    assert run(300) - before < 8_000_000


def test_two_calls_at_once_do_not_mix() -> None:
    """Threads that share one explainer get their own answers."""
    grad_cam = GradCam(make_served("small_cnn", mirror=True))
    images, start = make_images(), threading.Barrier(2)
    expected = [grad_cam.explain(images[i : i + 1], [i % 2], ["gradcam"]) for i in range(IMAGES)]

    def explain(which: int) -> None:
        start.wait()
        for _ in range(15):
            found = grad_cam.explain(images[which : which + 1], [which % 2], ["gradcam"])
            np.testing.assert_allclose(found.values, expected[which].values, atol=1e-5)
            np.testing.assert_allclose(found.logits, expected[which].logits, atol=1e-5)

    assert not np.allclose(expected[0].values, expected[1].values, atol=1e-2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(explain, (0, 1)))


def test_bf16_shows_the_same_places() -> None:
    """Half the digits of the feature maps move no hot spot."""
    served, images = make_served("resnet18"), make_images()
    exact, rounded = (
        GradCam(served, dtype).explain(images, [1] * IMAGES, ["layercam"] * IMAGES)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert np.abs(exact.values - rounded.values).max() < 0.1
    assert np.abs(exact.values - rounded.values).max() > 0


def test_even_map_stays_even() -> None:
    """Nothing is stretched from its smallest value."""
    even = np.full((1, 7, 7), 3.0, dtype=np.float32)
    even[0, 0, 0] = 3.1
    scaled = scale(even, even)
    assert scaled.max() == 1.0
    assert scaled.min() > 0.96


@pytest.mark.parametrize("level", [0.0, -2.0, 1e-20, float("nan")])
def test_map_without_evidence_is_empty(level: float) -> None:
    """Zero, negative, vanishing, or not a number at all."""
    maps = np.full((1, 7, 7), level, dtype=np.float32)
    assert not scale(maps, maps).any()


def test_little_evidence_for_a_class_is_not_blown_up() -> None:
    """Where most speaks against the class, the peak is the share of what speaks for it."""
    evidence = np.full((1, 2, 2), -1.0, dtype=np.float32)
    evidence[0, 0, 0] = 0.1
    assert scale(evidence, evidence).max() == pytest.approx(0.1)
