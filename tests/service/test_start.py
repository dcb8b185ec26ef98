"""What must be true before the service is ready, and how it says otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from cxr.engines.ort_options import CPU, CUDA
from cxr.errors import BundleError, CxrError
from service.engines import cuda as device_engine
from service.engines import onnxruntime as ort_engine
from service.engines.cuda_driver import has_cuda_device
from service.engines.machine import usable_cores
from service.engines.placement import TENSORRT, verify_device, verify_provider
from service.engines.registry import build_engine
from service.errors import StartupError
from service.models.loading import load_models
from service.models.models import default_name
from tests.service.conftest import make_settings
from tests.service.fake_engine import FakeEngine
from tests.service.make_bundle import make_bundle, make_graph, write_manifest


def load(root: Path, **changes: Any) -> Any:
    """Load the bundles of a folder on ONNX Runtime."""
    return load_models(make_settings(root, **{"models": ""} | changes), build_engine)


def rewrite(path: Path, **changes: Any) -> None:
    """Change a bundle's manifest and digests, as a faulty export would."""
    manifest = json.loads((path / "manifest.json").read_text())
    write_manifest(path, manifest | changes)


def test_bundles_load_in_order(bundles: Path) -> None:
    """Several are loaded at once, and each runs on the provider asked for."""
    models = load(bundles)
    assert list(models) == ["cnn", "resnet18"]
    assert {model.engine.provider for model in models.values()} == {CPU}


def test_only_models_asked_for_are_loaded(tmp_path: Path) -> None:
    """A broken bundle nobody asked for holds nothing up."""
    make_bundle(tmp_path, "cnn")
    (make_bundle(tmp_path, "other") / "model.onnx").write_bytes(b"")
    assert list(load(tmp_path, models="cnn")) == ["cnn"]
    with pytest.raises(StartupError, match="named nope"):
        load(tmp_path, models="cnn,nope")


def test_every_bucket_is_warmed(bundles: Path, engine: FakeEngine) -> None:
    """The first batch of each size costs an engine its planning."""
    load_models(make_settings(bundles, max_batch=6), engine.build)
    assert engine.batches[:4] == [1, 2, 4, 6]


@pytest.mark.parametrize("name", ["model.onnx", "weights.safetensors", "golden/a.png"])
def test_tampered_bundle_is_refused(tmp_path: Path, name: str) -> None:
    """One changed bit in any file is found before anything is served."""
    file = make_bundle(tmp_path) / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match="was changed"):
        load(tmp_path)


def test_missing_bundles_are_refused(tmp_path: Path) -> None:
    """An empty folder is told as such."""
    with pytest.raises(StartupError, match="No bundle in"):
        load(tmp_path)


def test_two_bundles_of_one_name_are_refused(tmp_path: Path) -> None:
    """A name must pick one model."""
    make_bundle(tmp_path, "a")
    rewrite(make_bundle(tmp_path, "b"), name="a")
    with pytest.raises(StartupError, match="named a"):
        load(tmp_path)


def test_golden_tensors_must_match(tmp_path: Path) -> None:
    """A model that computes something else than was tested is not served."""
    path = make_bundle(tmp_path)
    with np.load(path / "golden.npz") as arrays:
        changed = dict(arrays)
    changed["probabilities"] = changed["probabilities"][:, ::-1]
    np.savez(path / "golden.npz", **changed)
    rewrite(path)
    with pytest.raises(StartupError, match="golden tensors"):
        load(tmp_path)


def test_golden_files_must_match(tmp_path: Path) -> None:
    """A decoder that gives other pixels than the export's is found at start."""
    path = make_bundle(tmp_path)
    expected = json.loads((path / "golden/expected.json").read_text())
    expected["c.dcm"] -= 0.1
    (path / "golden/expected.json").write_text(json.dumps(expected))
    rewrite(path)
    with pytest.raises(StartupError, match=r"golden file c\.dcm"):
        load(tmp_path)


def test_golden_that_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    """The reason reaches the operator."""
    path = make_bundle(tmp_path)
    (path / "golden/a.png").write_bytes(b"junk")
    rewrite(path)
    with pytest.raises(StartupError, match=r"a\.png cannot be used"):
        load(tmp_path)


def test_nan_in_goldens_is_refused(bundles: Path, engine: FakeEngine) -> None:
    """Comparisons with NaN are never true; that must not count as a match."""
    run = engine.run
    engine.run = lambda images: _with_nan(run(images))  # type: ignore[method-assign]
    with pytest.raises(StartupError, match="golden tensors"):
        load_models(make_settings(bundles), engine.build)


def _with_nan(output: Any) -> Any:
    output.probabilities[:] = np.nan
    return output


def test_failing_engine_is_refused_without_its_text(bundles: Path, engine: FakeEngine) -> None:
    """A failed warm-up ends the start; it is not merely logged."""
    engine.fails = True
    with pytest.raises(StartupError, match=r"warmed up .*RuntimeError") as caught:
        load_models(make_settings(bundles), engine.build)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("size_px", [16, 48])
def test_graph_of_another_size_is_refused(tmp_path: Path, size_px: int) -> None:
    """The manifest's input size is the graph's."""
    path = make_bundle(tmp_path)
    onnx.save(make_graph(size_px), path / "model.onnx")
    rewrite(path)
    with pytest.raises(StartupError, match="not uint8"):
        load(tmp_path)


def test_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    """ONNX Runtime's complaint becomes one line."""
    path = make_bundle(tmp_path)
    (path / "model.onnx").write_bytes(b"junk")
    rewrite(path)
    with pytest.raises(StartupError, match="cannot load model resnet18") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("device", "compiled"), [("cuda", [CUDA, CPU]), ("tensorrt", [TENSORRT, CUDA, CPU])]
)
def test_device_that_is_there_is_taken(device: Any, compiled: list[str]) -> None:
    """ONNX Runtime can use it, and the machine has one."""
    verify_device(device, compiled, has_device=True)


@pytest.mark.parametrize(
    ("wanted", "compiled", "has_device", "says"),
    [
        ("cuda", [CUDA, CPU], False, "CXR_PROVIDER=cuda, but no CUDA device"),
        ("cuda", [CPU], True, "CXR_PROVIDER=cuda, but ONNX Runtime has no CUDA support"),
        ("tensorrt", [TENSORRT, CUDA, CPU], False, "CXR_PROVIDER=tensorrt, but no CUDA device"),
        ("tensorrt", [CUDA, CPU], True, "ONNX Runtime has no TensorRT support"),
    ],
)
def test_device_that_cannot_be_had_is_an_error(
    wanted: Any, compiled: list[str], has_device: bool, says: str
) -> None:
    """Asking for CUDA or TensorRT never gives the CPU, nor TensorRT CUDA."""
    with pytest.raises(StartupError, match=says):
        verify_device(wanted, compiled, has_device=has_device)


@pytest.mark.skipif(has_cuda_device(), reason="the machine has a CUDA device")
def test_cuda_without_a_device_fails_at_start(bundles: Path) -> None:
    """So it is with the real libraries."""
    with pytest.raises(StartupError, match="no CUDA device"):
        load(bundles, provider="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not has_cuda_device(), reason="the machine has no CUDA device")
@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_device_is_used(bundles: Path, wanted: str) -> None:
    """With a device the goldens are matched on it."""
    models = load(bundles, provider=wanted)
    assert {model.engine.provider for model in models.values()} == {CUDA}


@pytest.mark.skipif(has_cuda_device(), reason="the machine has a CUDA device")
def test_silent_fallback_is_found(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime falls back to the CPU without an error; the service does not follow."""
    monkeypatch.setattr(device_engine, "verify_device", lambda *_, **__: None)
    monkeypatch.setattr(ort_engine.ort, "preload_dlls", lambda directory: None)
    with pytest.raises(StartupError, match=r"fell back to CPUExecutionProvider"):
        load(bundles, provider="cuda")


@pytest.mark.parametrize("actual", [[], [CPU], [CPU, CUDA]])
def test_provider_must_be_the_one_asked_for(actual: list[str]) -> None:
    """The first of a session's providers is the one in force."""
    verify_provider(CUDA, [CUDA, CPU])
    with pytest.raises(StartupError, match="fell back to"):
        verify_provider(CUDA, actual)


@pytest.mark.parametrize(
    ("names", "wanted", "chosen"),
    [
        (["a", "resnet18"], "", "resnet18"),
        (["b", "a"], "", "b"),
        (["a", "resnet18"], "a", "a"),
    ],
)
def test_default_model(bundles: Path, names: list[str], wanted: str, chosen: str) -> None:
    """The operator's choice, else resnet18, else the first."""
    assert default_name(names, make_settings(bundles, default_model=wanted)) == chosen


def test_default_model_that_is_broken_is_not_replaced(bundles: Path) -> None:
    """Another model would answer for resnet18 without a word, unless the operator wants it."""
    with pytest.raises(StartupError, match="Model resnet18 cannot be used"):
        default_name(["a"], make_settings(bundles), {"resnet18"})
    assert default_name(["a"], make_settings(bundles, default_model="a"), {"resnet18"}) == "a"
    assert default_name(["a"], make_settings(bundles), {"b"}) == "a"


def test_default_model_must_be_loaded(bundles: Path) -> None:
    """Otherwise every request without a model would fail."""
    with pytest.raises(CxrError, match="CXR_DEFAULT_MODEL"):
        default_name(["a"], make_settings(bundles, default_model="zz"))


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", None), ("50000 100000", 1), ("junk", None), (None, None)]
)
def test_cores_respect_the_quota_of_a_container(
    tmp_path: Path, quota: str | None, cores: int | None
) -> None:
    """Half a core is one thread; without a quota all cores count."""
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    assert usable_cores(file) == (cores or usable_cores(tmp_path / "none"))
