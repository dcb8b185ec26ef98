"""Memory for batches, where sessions are placed, and TensorRT's libraries: no device needed."""

from __future__ import annotations

import ctypes
import gc
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr.bundles.bundle import open_bundle
from cxr.engines.ort_options import CUDA, cuda_options
from service.engines import cuda as device_engine
from service.engines import onnxruntime as ort_engine
from service.engines import tensorrt
from service.engines.buffers import HostBuffers
from service.engines.cuda import build_device_engine
from service.engines.cuda_driver import pin
from service.engines.placement import TENSORRT, place_on_cuda
from service.engines.registry import ENGINES
from service.engines.selection import Choice
from service.engines.tensorrt import has_tensorrt, place_on_tensorrt, tensorrt_cache
from service.errors import StartupError
from tests.service.conftest import make_settings

pytestmark = pytest.mark.xdist_group("waits")

SIZE_PX = 8


def test_buffer_comes_back_when_nobody_holds_it() -> None:
    """And not before: batches held at a time never share memory."""
    buffers = HostBuffers(4, SIZE_PX, count=2)
    first, second, third = buffers.take(4), buffers.take(2), buffers.take(3)
    for batch in (first, second):
        assert np.shares_memory(batch, buffers.block)
    assert not np.shares_memory(first, second)
    assert not np.shares_memory(third, buffers.block)  # none was free
    assert [batch.shape for batch in (first, second, third)] == [
        (4, 1, SIZE_PX, SIZE_PX),
        (2, 1, SIZE_PX, SIZE_PX),
        (3, 1, SIZE_PX, SIZE_PX),
    ]
    address = first.ctypes.data
    del first
    assert buffers.take(1).ctypes.data == address


class Driver:
    """The CUDA driver, as far as it is called; whatever is named fails."""

    def __init__(self, failing: str = "") -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self._failing = failing

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            self.calls.append((name, arguments))
            return int(name == self._failing)

        return call

    @property
    def names(self) -> list[str]:
        """What was called."""
        return [name for name, _ in self.calls]


def test_memory_is_pinned_as_long_as_it_lives() -> None:
    """The driver learns address and size, and is told before the memory is freed."""
    driver, block = Driver(), np.zeros((3, 4), dtype=np.uint8)
    address = block.ctypes.data
    assert pin(block, 1, driver)
    arguments = dict(driver.calls)["cuMemHostRegister_v2"]
    assert (arguments[0].value, arguments[1].value) == (address, 12)
    assert dict(driver.calls)["cuDeviceGet"][1] == 1
    assert "cuMemHostUnregister" not in driver.names
    del block
    gc.collect()
    assert dict(driver.calls)["cuMemHostUnregister"][0].value == address
    assert driver.names.count("cuCtxPushCurrent_v2") == driver.names.count("cuCtxPopCurrent_v2")
    assert driver.names[-1] == "cuDevicePrimaryCtxRelease_v2"


@pytest.mark.parametrize(
    "failing", ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuMemHostRegister_v2"]
)
def test_memory_that_cannot_be_pinned_is_used_as_it_is(failing: str) -> None:
    """Nothing is undone that was not done."""
    driver, block = Driver(failing), np.zeros(3, dtype=np.uint8)
    assert not pin(block, 0, driver)
    del block
    assert "cuMemHostUnregister" not in driver.names
    retained = "cuDevicePrimaryCtxRetain" in driver.names and failing != "cuDevicePrimaryCtxRetain"
    assert ("cuDevicePrimaryCtxRelease_v2" in driver.names) == retained
    assert driver.names.count("cuCtxPushCurrent_v2") == driver.names.count("cuCtxPopCurrent_v2")


def test_no_driver_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """So it is on this machine, if it has no device."""

    def absent(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert not pin(np.zeros(3, dtype=np.uint8), 0)


@pytest.mark.parametrize("graphs", [True, False])
def test_cuda_is_asked_for_exact_floats_on_one_device(graphs: bool) -> None:
    """Options are text; no TF32; nothing but CUDA is asked for."""
    placed = place_on_cuda(3, graphs=graphs)
    assert placed.providers == ((CUDA, cuda_options(3, graphs=graphs)),)
    assert cuda_options(3, graphs=graphs) == {
        "device_id": "3",
        "use_tf32": "0",
        "enable_cuda_graph": "1" if graphs else "0",
    }
    assert (placed.provider, placed.memory, placed.device_id) == (CUDA, "cuda", 3)
    assert placed.graphs == graphs


def test_options_are_known_to_onnx_runtime(bundles: Path) -> None:
    """A misspelt one would be refused at start, on a device only."""
    library = Path(ort_engine.ort.__file__).parent / "capi"
    manifest = open_bundle(bundles / "cnn").manifest
    for provider, kind in ((CUDA, "cuda"), (TENSORRT, "tensorrt")):
        path = library / f"libonnxruntime_providers_{kind}.so"
        if not path.is_file():
            pytest.skip("ONNX Runtime has no CUDA support here")
        placed = place_on_tensorrt(0, "fp16", manifest, 8, Path("cache"))
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            for name in dict(placed.providers)[provider]:
                assert content.find(name.encode()) >= 0, name


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_tensorrt_is_asked_for_all_buckets(bundles: Path, precision: str) -> None:
    """One profile from one image to the largest batch, in the precision, with CUDA behind it."""
    manifest = open_bundle(bundles / "cnn").manifest
    placed = place_on_tensorrt(2, precision, manifest, 8, Path("/var/cache/cxr"))
    assert [name for name, _ in placed.providers] == [TENSORRT, CUDA]
    assert (placed.provider, placed.memory, placed.graphs) == (TENSORRT, "cuda", False)
    assert {options["device_id"] for _, options in placed.providers} == {"2"}
    options = dict(placed.providers)[TENSORRT]
    assert options["trt_fp16_enable"] == str(int(precision == "fp16"))
    assert options["trt_profile_min_shapes"] == "image:1x1x32x32"
    assert options["trt_profile_opt_shapes"] == options["trt_profile_max_shapes"]
    assert options["trt_profile_max_shapes"] == "image:8x1x32x32"
    assert options["trt_engine_cache_path"] == "/var/cache/cxr"
    # The only way to keep TensorRT from TF32.
    no_tf32 = {"NVIDIA_TF32_OVERRIDE": "0"}
    assert placed.environment == (no_tf32 if precision == "fp32" else {})


def test_tensorrt_keeps_no_engines_unless_told(bundles: Path) -> None:
    """Without a folder nothing is written."""
    manifest = open_bundle(bundles / "cnn").manifest
    options = dict(place_on_tensorrt(0, "fp16", manifest, 8, None).providers)[TENSORRT]
    assert not [name for name in options if "cache" in name]


def test_engines_of_two_bundles_lie_apart() -> None:
    """TensorRT's provider tells graphs apart, not weights."""
    one, other = (tensorrt_cache("/cache", digest, "fp16") for digest in ("aa", "bb"))
    assert one == Path("/cache/aa-fp16")
    assert one != other
    assert tensorrt_cache("/cache", "aa", "fp32") != one
    assert tensorrt_cache("", "aa", "fp16") is None


TENSORRT_CHOICE = Choice(ENGINES[-1], "tensorrt", "fp32", "a test")


@pytest.fixture
def no_device_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with a device, as far as the driver and CUDA's libraries go."""
    monkeypatch.setattr(device_engine, "verify_device", lambda *_, **__: None)
    monkeypatch.setattr(ort_engine.ort, "preload_dlls", lambda directory: None)
    monkeypatch.setattr(ort_engine.os, "environ", {})


def build(bundles: Path, **changes: Any) -> Any:
    settings = make_settings(bundles, provider="tensorrt", **changes)
    return build_device_engine(open_bundle(bundles / "cnn"), settings, TENSORRT_CHOICE)


@pytest.mark.skipif(has_tensorrt(), reason="TensorRT is installed")
def test_absent_tensorrt_is_one_clear_line(bundles: Path, no_device_needed: None) -> None:
    """With what to install, and what to set instead."""
    with pytest.raises(StartupError, match=r"libnvinfer.so.10 cannot be loaded") as caught:
        build(bundles)
    assert "pip install" in str(caught.value)
    assert "CXR_PROVIDER=cuda" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_tensorrt_is_not_silently_replaced(
    bundles: Path, no_device_needed: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With libraries that cannot be used ONNX Runtime falls back; the service does not."""
    monkeypatch.setattr(ort_engine, "preload_tensorrt", lambda: None)
    with pytest.raises(StartupError, match=r"cannot load model cnn: .*TensorRT|fell back to"):
        build(bundles, tensorrt_cache_dir=str(tmp_path / "engines"))
    digest = open_bundle(bundles / "cnn").sha256
    assert (tmp_path / "engines" / f"{digest}-fp32").is_dir()


def test_cache_that_cannot_be_written_is_said(
    bundles: Path, no_device_needed: None, tmp_path: Path
) -> None:
    """In the setting's name."""
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StartupError, match="CXR_TENSORRT_CACHE_DIR"):
        build(bundles, tensorrt_cache_dir=str(tmp_path / "file" / "engines"))


def test_tensorrt_has_no_cuda_graphs(bundles: Path, no_device_needed: None) -> None:
    """Asking for both is refused."""
    with pytest.raises(StartupError, match="CXR_CUDA_GRAPHS=on works with CXR_PROVIDER=cuda only"):
        build(bundles, cuda_graphs="on")


def test_libraries_are_taken_from_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVIDIA's Python package lies where the loader does not look."""
    package = tmp_path / tensorrt.PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name in tensorrt.LIBRARIES:
        (package / name).write_bytes(b"")
    loaded = []
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(ctypes, "CDLL", lambda path, mode: loaded.append(path))
    tensorrt.preload_tensorrt()
    assert loaded == [str(package / name) for name in tensorrt.LIBRARIES]
