"""Explanations from PyTorch: the same weights, the same answer, and only where asked for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from dataclasses import astuple
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from cxr.bundles.bundle import Bundle, open_bundle
from cxr.engines.ort_options import CPU, CUDA
from cxr.networks.served import has_fast_bf16
from export.phantom import draw_phantom, encode_jpeg
from service.engines.machine import look_at_machine
from service.engines.protocol import OutputRow
from service.engines.registry import build_engine
from service.errors import ExplanationMismatchError, StartupError
from service.explain.explaining import (
    Explanation,
    Tolerance,
    load_explainer,
    verify_same_answer,
)
from service.explain.torch_explainer import TOLERANCES, TorchExplainer, build_torch_explainer
from service.images.preparation import PreparedImage, prepare_image
from service.scheduling.lane import row_of
from service.scheduling.priority import NICENESS
from service.settings import Settings
from tests.conftest import REPOSITORY
from tests.service.conftest import make_settings
from tests.service.harness import Running, running
from tests.service.test_problems import verify_problem

pytestmark = pytest.mark.anyio

MODELS = ("resnet18", "small_cnn")
EXPLAIN = "/v1/explain"
RADIOGRAPHS = 12


def settings_for(bundle: Path, **changes: Any) -> Settings:
    """Make settings for one real bundle."""
    limits = {"max_image_pixels": 4_000_000, "explain_precision": "fp32"}
    return make_settings(bundle, models="", **limits | changes)


def changed_copy(bundle: Bundle, folder: Path, **manifest: Any) -> Bundle:
    """Give an opened bundle whose weights are perturbed, or whose manifest is changed."""
    if manifest:
        return Bundle(bundle.path, bundle.manifest.model_copy(update=manifest), bundle.sha256)
    tensors = load_file(bundle.weights_path)
    tensors["fc2.weight"] = tensors["fc2.weight"] * 1.2
    save_file(tensors, folder / "weights.safetensors")
    (folder / "golden.npz").write_bytes((bundle.path / "golden.npz").read_bytes())
    return Bundle(folder, bundle.manifest, bundle.sha256)


async def test_real_explanation_over_http(smoke_bundle: Path) -> None:
    """A trained network, its graph and its weights agree, and a place is shown."""
    file = encode_jpeg(draw_phantom(3, 1.0))
    async with running(settings_for(smoke_bundle), build_engine, build_torch_explainer) as service:
        for target in ("NORMAL", "PNEUMONIA"):
            query = {"target": target, "method": "gradcam"}
            response = await service.client.post(EXPLAIN, params=query, content=file)
            assert response.status_code == 200, response.text
            [result] = response.json()["results"]
            heatmap = result["explanation"]["heatmap"]
            assert result["explanation"]["layer"] == "block3"
            assert (heatmap["height"], heatmap["width"]) == (7, 7)
            assert 0 <= np.min(heatmap["values"]) <= np.max(heatmap["values"]) <= 1


@pytest.mark.parametrize("precision", ["fp32", "int8"])
async def test_other_weights_are_a_mismatch_over_http(
    int8_bundle: Path, tmp_path: Path, precision: str
) -> None:
    """If PyTorch comes to hold other weights than the graph, no picture is shown."""
    if precision == "int8" and not look_at_machine().has_int8:
        pytest.skip("the CPU has no instructions for int8")
    other = changed_copy(open_bundle(int8_bundle), tmp_path)

    def build(bundle: Bundle, provider: str, settings: Settings) -> TorchExplainer:
        explainer = build_torch_explainer(bundle, provider, settings)
        explain = explainer.explain
        wrong = build_torch_explainer(other, provider, settings)
        calls = iter([explain] * 8)  # the goldens at start

        def change(*arguments: Any) -> list[Explanation]:
            return next(calls, wrong.explain)(*arguments)

        explainer.explain = change  # type: ignore[method-assign]
        return explainer

    settings = settings_for(int8_bundle, explain_max_batch=1, precision=precision)
    assert len(open_bundle(int8_bundle).golden_tensors().images) == 8
    file = encode_jpeg(draw_phantom(3, 1.0))
    async with running(settings, build_engine, build_torch_explainer) as service:
        assert (await service.client.post(EXPLAIN, content=file)).status_code == 200
    async with running(settings, build_engine, build) as service:
        response = await service.client.post(EXPLAIN, content=file)
        verify_problem(response, 500, "explanation-mismatch")


def test_other_weights_are_refused_at_start(smoke_bundle: Path, tmp_path: Path) -> None:
    """Weights that are not the graph's do not reproduce its goldens."""
    other = changed_copy(open_bundle(smoke_bundle), tmp_path)
    with pytest.raises(StartupError, match=r"do not reproduce its golden tensors"):
        load_explainer(other, CPU, settings_for(smoke_bundle), build_torch_explainer)


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ({"architecture": "vgg99"}, "Unknown architecture"),
        ({"architecture": "resnet18"}, "does not hold the weights"),
        ({"explain_layer": "layer9"}, "another layer than block3"),
    ],
    ids=["unknown architecture", "other architecture", "other layer"],
)
def test_bundle_that_cannot_be_explained_is_refused(
    smoke_bundle: Path, tmp_path: Path, manifest: dict[str, str], says: str
) -> None:
    """One line tells the operator why, and how to serve without explanations."""
    other = changed_copy(open_bundle(smoke_bundle), tmp_path, **manifest)
    with pytest.raises(StartupError, match=f"{says}.*CXR_EXPLAIN=off"):
        build_torch_explainer(other, CPU, settings_for(smoke_bundle))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has a CUDA device")
def test_cuda_that_torch_cannot_use_is_refused(smoke_bundle: Path) -> None:
    """Explanations never fall back to another device silently."""
    with pytest.raises(StartupError, match="PyTorch finds no CUDA device"):
        build_torch_explainer(open_bundle(smoke_bundle), CUDA, settings_for(smoke_bundle))


def test_precision_follows_the_cpu_or_the_operator(smoke_bundle: Path) -> None:
    """Auto takes bf16 where it is fast; an explicit choice is obeyed."""
    bundle = open_bundle(smoke_bundle)
    expected = {"auto": "bf16" if has_fast_bf16() else "fp32", "fp32": "fp32", "bf16": "bf16"}
    for chosen, precision in expected.items():
        settings = settings_for(smoke_bundle, explain_precision=chosen)
        explainer = load_explainer(bundle, CPU, settings, build_torch_explainer)
        assert explainer.precision == precision
        assert explainer.tolerance == TOLERANCES[precision]


def read_radiographs(shared_data: Path, bundle: Bundle) -> list[PreparedImage]:
    """Prepare some radiographs of both classes."""
    files = sorted((shared_data / "originals").rglob("*.jpeg"))
    spec = bundle.manifest.preprocessing
    return [
        prepare_image(path.read_bytes(), spec, 64_000_000)
        for path in files[:: max(1, len(files) // RADIOGRAPHS)]
    ]


def run_both_paths(
    bundle: Bundle, images: list[PreparedImage], explained: str, **engine: str
) -> tuple[list[OutputRow], list[Explanation]]:
    """Run both paths on the same images."""
    settings = settings_for(bundle.path, explain_precision=explained, **engine)
    inputs: NDArray[np.uint8] = np.stack([image.model_input for image in images])
    output = build_engine(bundle, settings).run(inputs)
    explainer = build_torch_explainer(bundle, CPU, settings)
    found = explainer.explain(inputs, [1] * len(inputs), ["gradcam"] * len(inputs))
    return [cast("OutputRow", row_of(output, i)) for i in range(len(images))], found


@pytest.mark.parametrize(
    ("explained", "engine", "precision"),
    [
        ("fp32", "onnxruntime", "fp32"),
        ("bf16", "onnxruntime", "fp32"),
        ("bf16", "onnxruntime", "int8"),
        ("bf16", "openvino", "int8"),
        ("bf16", "openvino", "bf16"),
    ],
)
@pytest.mark.parametrize("name", MODELS)
def test_tolerance_is_wide_for_rounding_and_tight_for_mistakes(
    name: str,
    explained: str,
    engine: str,
    precision: str,
    shared_data: Path,
    shipped_bundles: Path,
) -> None:
    """On radiographs, rounding stays below half of it; hardly a swapped image passes."""
    machine = look_at_machine()
    if not {"int8": machine.has_int8, "bf16": machine.has_bf16}.get(precision, True):
        pytest.skip(f"the CPU has no instructions for {precision}")
    bundle = open_bundle(shipped_bundles / name)
    images = read_radiographs(shared_data, bundle)
    rows, found = run_both_paths(bundle, images, explained, engine=engine, precision=precision)
    tolerance = TOLERANCES[explained].widened(bundle.manifest.rounding_of(precision))
    for row, explanation in zip(rows, found, strict=True):
        half = Tolerance(*(value / 2 for value in astuple(tolerance)))
        verify_same_answer(row, explanation, half)
    pairs = [(i, j) for i in range(len(images)) for j in range(len(images)) if i != j]
    caught = sum(is_mismatch(rows[i], found[j], tolerance) for i, j in pairs)
    # The allowance for eight bits is that of drawings, which they move more than radiographs.
    assert caught / len(pairs) > (0.6 if precision == "int8" else 0.95)


def is_mismatch(row: OutputRow, explanation: Explanation, tolerance: Tolerance) -> bool:
    """Ask whether an explanation is refused."""
    try:
        verify_same_answer(row, explanation, tolerance)
    except ExplanationMismatchError:
        return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="niceness is a thread's own on Linux only")
def test_explaining_thread_stands_back(smoke_bundle: Path) -> None:
    """Its priority is lowered, and nobody else's."""
    explainer = build_torch_explainer(open_bundle(smoke_bundle), CPU, settings_for(smoke_bundle))
    before, seen = os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), []

    def work() -> None:
        explainer.prepare_thread()
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        seen.append(torch.get_num_threads())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [max(before, NICENESS), 1]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


READY = """
import asyncio, sys
from service.app.server import Server
from service.settings import load_settings

async def main():
    runtime = Server(load_settings(bundles_dir=sys.argv[1]))._runtime
    await runtime.start()
    assert runtime.lifecycle.is_ready
    print([name for name in ("torch", "torchvision", "timm") if name in sys.modules])
    await runtime.stop()

asyncio.run(main())
"""


@pytest.mark.parametrize(("explain", "loaded"), [("off", []), ("graph", []), ("on", ["torch"])])
def test_torch_is_loaded_only_to_explain(
    smoke_bundle: Path, explain: str, loaded: list[str]
) -> None:
    """Off or on the graph never; else without packages of networks that are not served."""
    done = subprocess.run(
        [sys.executable, "-c", READY, str(smoke_bundle)],
        env=os.environ
        | {"CXR_EXPLAIN": explain, "CXR_PROVIDER": "cpu", "CXR_ISOLATION": "threads"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(loaded)


async def test_many_explanations_at_once_do_not_mix(smoke_bundle: Path) -> None:
    """Batched together, each gets the heatmap it gets alone."""
    files = [encode_jpeg(draw_phantom(i, i / 5)) for i in range(6)]

    async def ask(service: Running, number: int) -> Any:
        query = {"target": ("NORMAL", "PNEUMONIA")[number % 2], "method": "gradcam"}
        response = await service.client.post(EXPLAIN, params=query, content=files[number])
        return response.json()["results"][0]["explanation"]["heatmap"]["values"]

    async with running(settings_for(smoke_bundle), build_engine, build_torch_explainer) as service:
        alone = [await ask(service, number) for number in range(6)]
        together = await asyncio.gather(*(ask(service, number) for number in range(6)))
    np.testing.assert_allclose(together, alone, atol=2e-3)
    assert len({str(one) for one in alone}) >= 4  # of a clear picture nothing may speak for it
