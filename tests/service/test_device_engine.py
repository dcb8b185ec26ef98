"""The engine of CUDA devices. All of it but CUDA itself runs on a CPU, too."""

from __future__ import annotations

import gc
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle, open_bundle
from cxr.bundles.manifest import FP32
from cxr.engines.ort_options import CPU, CUDA
from export.comparison import GOLDENS_FACTOR
from service.engines import cuda as device_engine
from service.engines.buckets import bucket_sizes
from service.engines.buffers import BoundSession
from service.engines.cuda import DeviceEngine
from service.engines.cuda_driver import has_cuda_device
from service.engines.onnxruntime import nodes_by_provider, open_session, verify_nodes
from service.engines.placement import ON_CPU, TENSORRT, Placement, place_on_cuda
from service.engines.registry import ENGINES, build_engine
from service.engines.selection import Choice
from service.engines.tensorrt import has_tensorrt
from service.errors import StartupError
from service.models.loading import load_model
from service.scheduling.lane import EngineRunner
from service.settings import Settings
from tests.service.conftest import make_settings
from tests.service.harness import running
from tests.service.make_bundle import SIZE_PX, logits_of, probabilities_of
from tests.service.make_images import make_jpeg

MAX_BATCH = 6
BUCKETS = (1, 2, 4, 6)

NO_DEVICE = "the machine has no CUDA device"
ON_CUDA = [pytest.mark.gpu, pytest.mark.skipif(not has_cuda_device(), reason=NO_DEVICE)]


def on_cpu(graphs: bool) -> Placement:
    """Stand in for a CUDA device: the same buffers and run options, in the CPU's memory."""
    return Placement(CPU, ((CPU, {}),), "cpu", graphs=graphs)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=ON_CUDA)])
def device(request: pytest.FixtureRequest) -> str:
    """Where engines of these tests run."""
    return str(request.param)


def placement_on(device: str, graphs: bool) -> Placement:
    return place_on_cuda(0, graphs=graphs) if device == "cuda" else on_cpu(graphs)


def images_of(count: int, size_px: int = SIZE_PX, seed: int = 0) -> NDArray[np.uint8]:
    """Make model inputs that are all different."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 100, (count, 1, size_px, size_px), dtype=np.uint8)
    return noise + np.arange(count, dtype=np.uint8)[:, None, None, None] * 9


@pytest.fixture
def mean_grey(bundles: Path) -> Bundle:
    """A bundle whose answers are known."""
    return open_bundle(bundles / "resnet18")


@pytest.fixture(params=[True, False], ids=["graphs", "no graphs"])
def engine(request: pytest.FixtureRequest, device: str, mean_grey: Bundle) -> DeviceEngine:
    """The engine, with and without CUDA graphs."""
    return DeviceEngine(mean_grey, FP32, placement_on(device, request.param), MAX_BATCH)


def test_every_batch_size_is_answered(engine: DeviceEngine) -> None:
    """Sizes between two buckets are filled up, and nothing of that is in the answer."""
    for count in range(1, MAX_BATCH + 1):
        images = images_of(count, seed=count)
        output = engine.run(images)
        np.testing.assert_allclose(output.logits, logits_of(images), atol=1e-4)
        np.testing.assert_allclose(output.probabilities, probabilities_of(images), atol=1e-4)
        assert output.embedding.shape == (count, 2)
        assert {part.dtype for part in vars(output).values()} == {np.dtype(np.float32)}


def test_answers_do_not_alias_the_buffers(engine: DeviceEngine) -> None:
    """A later run of the same bucket changes no earlier answer."""
    answers = [engine.run(images_of(4, seed=seed)) for seed in range(4)]
    for seed, answer in enumerate(answers):
        expected = logits_of(images_of(4, seed=seed))
        np.testing.assert_allclose(answer.logits, expected, atol=1e-4)
        np.testing.assert_allclose(answer.embedding, expected, atol=1e-4)


def test_too_many_images_are_refused(engine: DeviceEngine) -> None:
    """What fits no bucket is not cut off."""
    with pytest.raises(ValueError, match="7 images are more than the largest batch, 6"):
        engine.run(images_of(MAX_BATCH + 1))


def test_runs_from_many_threads_do_not_mix(engine: DeviceEngine) -> None:
    """One set of buffers, yet each caller gets its own answer."""
    batches = [images_of(1 + seed % MAX_BATCH, seed=seed) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(engine.run, batches))
    for images, output in zip(batches, outputs, strict=True):
        np.testing.assert_allclose(output.logits, logits_of(images), atol=1e-4)


def test_all_runs_are_on_one_thread(
    device: str, mean_grey: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime keeps a CUDA graph for the thread that captured it, warm-up included."""
    threads = set()
    run = BoundSession.run

    def noted(self: BoundSession, images: NDArray[np.uint8]) -> Any:
        threads.add(threading.get_ident())
        return run(self, images)

    monkeypatch.setattr(BoundSession, "run", noted)
    engine = DeviceEngine(mean_grey, FP32, placement_on(device, True), MAX_BATCH)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(engine.run, [images_of(1)] * 6))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


class Recorder:
    """A session that tells what it is run with."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.runs: list[tuple[int, str]] = []

    def io_binding(self) -> Any:
        """Give the session's own."""
        return self._session.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        """Note the run, and run."""
        self.runs.append((id(binding), options.get_run_config_entry("gpu_graph_id")))
        self._session.run_with_iobinding(binding, options)


def recorded(bundle: Bundle, placement: Placement) -> tuple[Recorder, BoundSession]:
    recorder = Recorder(open_session(bundle, FP32, placement))
    return recorder, BoundSession(recorder, bundle.manifest, BUCKETS, placement)


def test_each_bucket_has_its_buffers_and_its_graph(device: str, mean_grey: Bundle) -> None:
    """A graph replays addresses: a bucket is always run with the same ones, and its own id."""
    recorder, bound = recorded(mean_grey, placement_on(device, True))
    for count in (1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6):
        bound.run(images_of(count))
    assert len(set(recorder.runs)) == len(BUCKETS)
    assert {number for _, number in recorder.runs} == {"1", "2", "3", "4"}
    assert len({binding for binding, _ in recorder.runs}) == len(BUCKETS)


def test_buffers_are_made_once(
    mean_grey: Bundle, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is allocated for a run but its answer."""
    _, bound = recorded(mean_grey, placement_on(device, True))

    def refuse(*_: object) -> None:
        raise AssertionError("a buffer was made")

    monkeypatch.setattr(onnxruntime.OrtValue, "ortvalue_from_shape_and_type", refuse)
    for _ in range(3):
        bound.run(images_of(4))


def test_without_graphs_no_run_names_one(device: str, mean_grey: Bundle) -> None:
    """ONNX Runtime would capture what is named."""
    recorder, bound = recorded(mean_grey, placement_on(device, False))
    with pytest.raises(RuntimeError, match="gpu_graph_id"):
        bound.run(images_of(1))
    assert not recorder.runs


def test_buckets_are_those_of_the_settings() -> None:
    """Powers of two, and the largest batch itself."""
    assert bucket_sizes(MAX_BATCH) == BUCKETS


def test_every_bucket_is_warmed_when_the_engine_is_made(
    device: str, mean_grey: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No request waits for a graph to be captured."""
    sizes = []
    run = BoundSession.run

    def noted(self: BoundSession, images: NDArray[np.uint8]) -> Any:
        sizes.append(len(images))
        return run(self, images)

    monkeypatch.setattr(BoundSession, "run", noted)
    DeviceEngine(mean_grey, FP32, placement_on(device, True), MAX_BATCH)
    assert sizes == list(BUCKETS)


def test_batches_are_stacked_in_the_engines_memory(engine: DeviceEngine) -> None:
    """A batch formed while another one runs has memory of its own, and both answers are right."""
    runner = EngineRunner(engine, BUCKETS)
    first, second = images_of(3, seed=1), images_of(4, seed=2)
    run_first, run_second = runner.form(list(first)), runner.form(list(second))
    for run, images in ((run_first, first), (run_second, second)):
        batch = run.args[0]  # type: ignore[attr-defined]
        assert np.shares_memory(batch, engine._host.block)
        rows = run()
        assert len(rows) == len(images)
        for row, logits in zip(rows, logits_of(images), strict=True):
            np.testing.assert_allclose(row.logits, logits, atol=1e-4)  # type: ignore[union-attr]


PRECISIONS = [FP32, "fp16"]
FP32_SLACK = 1e-3  # of logits: a device may take another algorithm for the same convolution


@pytest.mark.parametrize("precision", PRECISIONS)
def test_goldens_are_matched_in_each_precision(
    device: str, smoke_bundle: Path, precision: str
) -> None:
    """On a trained network, within what the manifest allows; fp16 is really rounded."""
    bundle = open_bundle(smoke_bundle)
    engine = DeviceEngine(bundle, precision, placement_on(device, True), 8)
    goldens = bundle.golden_tensors()
    output = engine.run(goldens.images)
    tolerance = bundle.manifest.golden_tolerance_of(precision)
    assert np.abs(output.probabilities - goldens.probabilities).max() <= tolerance.tensors
    gap = float(np.abs(output.logits - goldens.logits).max())
    allowed = bundle.manifest.rounding_of(precision).logits * GOLDENS_FACTOR
    assert gap <= allowed + FP32_SLACK
    assert gap > 1e-5 or precision == FP32


@pytest.mark.parametrize("precision", PRECISIONS)
def test_graphs_change_no_answer(device: str, smoke_bundle: Path, precision: str) -> None:
    """What is replayed is what was captured, in every bucket."""
    bundle = open_bundle(smoke_bundle)
    on, off = (
        DeviceEngine(bundle, precision, placement_on(device, graphs), 4) for graphs in (True, False)
    )
    images = bundle.golden_tensors().images
    allowed = max(bundle.manifest.rounding_of(precision).logits, FP32_SLACK)
    for count in (1, 2, 3, 4):
        for start in (0, 4):
            some = images[start : start + count]
            np.testing.assert_allclose(on.run(some).logits, off.run(some).logits, atol=allowed)


@pytest.fixture
def builder(device: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The service's builder on the device; on a CPU with the CPU in the device's stead."""
    if device == "cuda":
        return build_engine
    monkeypatch.setattr(device_engine, "verify_device", lambda *_, **__: None)
    monkeypatch.setattr(device_engine, "place_on_cuda", lambda _, graphs: on_cpu(graphs))
    choice = Choice(ENGINES[-1], "cuda", FP32, "a test")
    return lambda bundle, settings: device_engine.build_device_engine(bundle, settings, choice)


def device_settings(bundles: Path, device: str, **changes: Any) -> Settings:
    return make_settings(bundles, **{"provider": device, "max_batch": MAX_BATCH} | changes)


def test_models_are_loaded_on_it(bundles: Path, device: str, builder: Any) -> None:
    """Warmed, and goldens matched."""
    settings = device_settings(bundles, device)
    engine = load_model(open_bundle(bundles / "cnn"), settings, builder).engine
    assert engine.provider == {"cpu": CPU, "cuda": CUDA}[device]
    assert (engine.max_batch, engine.concurrency, engine.runs_on_cores) == (MAX_BATCH, 1, False)
    assert engine.graphs


@pytest.mark.anyio
async def test_predictions_arrive(bundles: Path, device: str, builder: Any) -> None:
    """End to end: files of different greys in batches, each with its own answer."""
    settings = device_settings(bundles, device, explain="off")
    async with running(settings, builder) as service:
        files = [("files", (f"{grey}.jpeg", make_jpeg(grey))) for grey in (60, 128, 160, 200)]
        answer = await service.client.post("/v1/predict", files=files)
    assert answer.status_code == 200
    found = [result["probability"] for result in answer.json()["results"]]
    levels = np.array([60, 128, 160, 200], dtype=np.uint8)[:, None, None, None]
    expected = probabilities_of(np.broadcast_to(levels, (4, 1, SIZE_PX, SIZE_PX)))[:, 1]
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize(("wanted", "goes_on"), [("auto", True), ("on", False), ("off", True)])
def test_graphs_that_fail_are_said(
    bundles: Path,
    builder: Any,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wanted: str,
    goes_on: bool,
) -> None:
    """With auto it goes on without, with a warning; on ends the start; off does not try."""
    run = BoundSession.run

    def failing(self: BoundSession, images: NDArray[np.uint8]) -> Any:
        if self._placement.graphs:
            raise RuntimeError("capture failed\nat some place")
        return run(self, images)

    monkeypatch.setattr(BoundSession, "run", failing)
    settings = device_settings(bundles, device, cuda_graphs=wanted)
    bundle = open_bundle(bundles / "resnet18")
    with caplog.at_level(logging.WARNING):
        if goes_on:
            assert not builder(bundle, settings).graphs
        else:
            with pytest.raises(StartupError, match="CXR_CUDA_GRAPHS=off runs without") as caught:
                builder(bundle, settings)
            assert "\n" not in str(caught.value)
    said = [r for r in caplog.records if r.getMessage() == "goes on without CUDA graphs"]
    assert len(said) == (wanted == "auto")


def test_provider_that_runs_nothing_is_found(caplog: pytest.LogCaptureFixture) -> None:
    """A session may name a provider first and leave it every node."""
    with pytest.raises(StartupError, match="runs none of it"):
        verify_nodes("resnet18", CUDA, {CPU: ("Conv", "Add")})
    with caplog.at_level(logging.WARNING):
        verify_nodes("resnet18", CUDA, {CUDA: ("Conv",)})
        assert not caplog.records
        verify_nodes("resnet18", CUDA, {CUDA: ("Conv",), CPU: ("Shape", "Shape")})
    assert caplog.records[0].__dict__["fields"]["operators"] == ["Shape"]


@pytest.mark.gpu
@pytest.mark.skipif(not has_cuda_device(), reason=NO_DEVICE)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_node_is_left_to_the_cpu(smoke_bundle: Path, precision: str) -> None:
    """CUDA graphs need all of them, and a copy there and back would cost more than most."""
    session = open_session(open_bundle(smoke_bundle), precision, place_on_cuda(0, graphs=False))
    assert set(nodes_by_provider(session)) == {CUDA}


@pytest.mark.gpu
@pytest.mark.skipif(not has_cuda_device(), reason=NO_DEVICE)
def test_auto_takes_cuda_in_fp16(smoke_bundle: Path) -> None:
    """Nothing set: the device, the quicker precision, graphs, goldens matched."""
    settings = make_settings(smoke_bundle, provider="auto", engine="auto", max_batch=8)
    engine = load_model(open_bundle(smoke_bundle), settings, build_engine).engine
    assert isinstance(engine, DeviceEngine)
    assert (engine.provider, engine.precision, engine.graphs) == (CUDA, "fp16", True)


@pytest.mark.gpu
@pytest.mark.skipif(not has_cuda_device(), reason=NO_DEVICE)
@pytest.mark.skipif(not has_tensorrt(), reason="TensorRT is not installed")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensorrt_matches_goldens(smoke_bundle: Path, tmp_path: Path, precision: str) -> None:
    """In each precision, and once more from the engines it kept."""
    asked = {"provider": "tensorrt", "precision": precision, "tensorrt_cache_dir": str(tmp_path)}
    settings = make_settings(smoke_bundle, max_batch=4, **asked)
    for _ in range(2):
        engine = load_model(open_bundle(smoke_bundle), settings, build_engine).engine
        assert (engine.provider, engine.precision) == (TENSORRT, precision)
        assert list(tmp_path.glob("*/*.engine"))


@pytest.mark.gpu
@pytest.mark.skipif(not has_cuda_device(), reason=NO_DEVICE)
def test_batch_memory_is_pinned(mean_grey: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    """On a device nothing warns that it is not, also the second time."""
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            DeviceEngine(mean_grey, FP32, place_on_cuda(0, graphs=False), MAX_BATCH)
        gc.collect()
    assert not caplog.records


def test_cpu_sessions_are_not_bound(mean_grey: Bundle) -> None:
    """There ONNX Runtime takes arrays where they lie, and binding would add a copy."""
    assert ON_CPU.memory == "cpu"
    engine = build_engine(mean_grey, make_settings(mean_grey.path.parent, engine="onnxruntime"))
    assert not hasattr(engine, "new_batch")
