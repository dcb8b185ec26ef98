"""Which engine a model gets, and that all of them answer alike."""

from __future__ import annotations

import json
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr.bundles.bundle import open_bundle
from cxr.networks.served import served_network
from cxr.pixels.image import ModelInput
from export.comparison import GOLDENS_FACTOR
from export.engines import TorchRunner
from service.engines import registry as engines
from service.engines.buckets import CPU_BATCH
from service.engines.machine import Machine, cpu_flags, look_at_machine
from service.engines.protocol import Engine, OutputRow
from service.engines.registry import ENGINES, build_engine
from service.engines.selection import choose
from service.errors import StartupError
from service.models.loading import load_models
from service.scheduling.lane import row_of
from service.settings import Settings, load_settings
from service.settings.service import EngineName, PrecisionName
from tests.service.conftest import make_settings
from tests.service.fake_engine import FakeEngine
from tests.service.make_bundle import make_bundle, write_manifest

pytestmark = pytest.mark.xdist_group("waits")

LEAST, ALL = frozenset({"onnxruntime"}), frozenset({"onnxruntime", "openvino"})
BARE = Machine(cuda_devices=0, packages=LEAST, has_int8=False, has_bf16=False)
FULL = Machine(cuda_devices=2, packages=ALL, has_int8=True, has_bf16=True)
CPU_ONLY = Machine(cuda_devices=0, packages=ALL, has_int8=True, has_bf16=True)
NO_OPENVINO = Machine(cuda_devices=2, packages=LEAST, has_int8=True, has_bf16=True)
ONE_DEVICE = Machine(cuda_devices=1, packages=ALL, has_int8=True, has_bf16=True)
OLD_CPU = Machine(cuda_devices=0, packages=ALL, has_int8=False, has_bf16=False)

THREADS = Path("/proc/self/task")

ORT, OV = "onnxruntime", "openvino"
BOTH = ("int8", "bf16")
HALF = (*BOTH, "fp16")


@pytest.mark.parametrize(
    ("asked", "machine", "offered", "chosen"),
    [
        ({}, FULL, BOTH, (ORT, "cuda", "fp32")),
        ({}, FULL, (*BOTH, "fp16"), (ORT, "cuda", "fp16")),
        ({}, CPU_ONLY, BOTH, (OV, "cpu", "int8")),
        ({}, CPU_ONLY, ("bf16",), (OV, "cpu", "fp32")),
        ({}, BARE, BOTH, (ORT, "cpu", "fp32")),
        ({}, OLD_CPU, BOTH, (OV, "cpu", "fp32")),
        ({"provider": "cpu"}, FULL, BOTH, (OV, "cpu", "int8")),
        ({"provider": "cpu"}, NO_OPENVINO, BOTH, (ORT, "cpu", "int8")),
        ({"engine": OV}, FULL, BOTH, (OV, "cpu", "int8")),
        ({"engine": ORT}, CPU_ONLY, BOTH, (ORT, "cpu", "int8")),
        ({"engine": ORT}, FULL, BOTH, (ORT, "cuda", "fp32")),
        ({"precision": "fp32"}, CPU_ONLY, BOTH, (OV, "cpu", "fp32")),
        ({"precision": "bf16"}, FULL, BOTH, (OV, "cpu", "bf16")),
        ({"precision": "int8"}, NO_OPENVINO, BOTH, (ORT, "cpu", "int8")),
        ({"device_id": 1}, FULL, HALF, (ORT, "cuda", "fp16")),
        ({"provider": "tensorrt"}, FULL, HALF, (ORT, "tensorrt", "fp16")),
        ({"provider": "tensorrt"}, FULL, BOTH, (ORT, "tensorrt", "fp32")),
        ({"provider": "tensorrt", "precision": "fp32"}, FULL, HALF, (ORT, "tensorrt", "fp32")),
        ({"provider": "tensorrt"}, CPU_ONLY, HALF, (ORT, "tensorrt", "fp16")),
    ],
)
def test_engine_is_chosen_openly(
    asked: dict[str, Any], machine: Machine, offered: tuple[str, ...], chosen: tuple[str, ...]
) -> None:
    """Auto takes the best there is, what is asked for is obeyed, and the reason is told."""
    found = choose(Settings(**asked), machine, offered, ENGINES)
    assert (found.engine.name, found.device, found.precision) == chosen
    assert found.reason.count(";") == 1


@pytest.mark.parametrize(
    ("asked", "machine", "offered", "says"),
    [
        ({"engine": OV}, BARE, BOTH, r"not installed: pip install 'cxr-inference\[openvino\]'"),
        ({"engine": OV, "provider": "cuda"}, FULL, BOTH, "runs on cpu, not with CXR_PROVIDER=cuda"),
        ({"precision": "int8"}, CPU_ONLY, ("bf16",), "the bundle has only fp32, bf16"),
        ({"precision": "int8"}, OLD_CPU, BOTH, "this CPU has no instructions"),
        ({"precision": "bf16"}, OLD_CPU, BOTH, "this CPU has no instructions"),
        ({"precision": "bf16"}, BARE, BOTH, "bf16 is available with openvino on cpu"),
        ({"precision": "fp16"}, CPU_ONLY, ("fp16",), "fp16 is available with onnxruntime on cuda"),
        ({"precision": "fp16"}, FULL, BOTH, "the bundle has only"),
        ({"precision": "int8", "provider": "cuda"}, FULL, BOTH, "computes in fp32, fp16"),
        ({"engine": OV, "provider": "tensorrt"}, FULL, HALF, "not with CXR_PROVIDER=tensorrt"),
        ({"precision": "int8", "provider": "tensorrt"}, FULL, HALF, "computes in fp32, fp16"),
        ({"device_id": 2}, FULL, HALF, "CXR_DEVICE_ID=2, but CUDA devices are 0 to 1"),
        ({"device_id": 1, "provider": "cuda"}, ONE_DEVICE, HALF, "the only CUDA device is 0"),
        ({"device_id": 1}, CPU_ONLY, HALF, "models run on a CPU"),
        ({"device_id": 1, "provider": "cpu"}, FULL, HALF, "models run on a CPU"),
    ],
)
def test_what_cannot_be_had_is_one_clear_line(
    asked: dict[str, Any], machine: Machine, offered: tuple[str, ...], says: str
) -> None:
    """Asking for something never gives something else."""
    with pytest.raises(StartupError, match=says) as caught:
        choose(Settings(**asked), machine, offered, ENGINES)
    assert "\n" not in str(caught.value)


def test_settings_name_the_engines_of_the_registry() -> None:
    """The settings lie below the engines, so both have the names; they are the same."""
    assert set(get_args(EngineName)) == {"auto", *(entry.name for entry in ENGINES)}
    for entry in ENGINES:
        for precisions in entry.precisions.values():
            assert set(precisions) < set(get_args(PrecisionName))


def test_every_engine_has_a_builder() -> None:
    """The registry names modules and functions, which are imported only once one is chosen."""
    for entry in ENGINES:
        assert callable(resolve_name(entry.builder))


@pytest.mark.parametrize("name", ["ENGINE", "PRECISION"])
def test_unknown_values_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt engine is no auto."""
    monkeypatch.setenv(f"CXR_{name}", "best")
    with pytest.raises(StartupError, match=f"CXR_{name}: "):
        load_settings()


def test_cpu_flags_are_read(tmp_path: Path) -> None:
    """Names as Linux gives them, on x86 and on Arm."""
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nflags\t\t: sse avx512_vnni\nbugs: none\n")
    assert cpu_flags(info) == {"sse", "avx512_vnni"}
    info.write_text("Features\t: asimd asimddp\n")
    assert cpu_flags(info) == {"asimd", "asimddp"}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU that has everything, whatever the tests run on, but no CUDA device."""
    monkeypatch.setattr(engines, "look_at_machine", lambda _: CPU_ONLY)


def test_start_says_what_was_chosen_and_why(
    bundles: Path, machine: None, caplog: pytest.LogCaptureFixture
) -> None:
    """One line with engine, provider, precision and reason."""
    with caplog.at_level(logging.INFO):
        build_engine(open_bundle(bundles / "resnet18"), make_settings(bundles))
    [record] = [r for r in caplog.records if r.getMessage() == "engine chosen"]
    said = json.dumps(record.__dict__, default=str)
    for text in (ORT, "CPUExecutionProvider", "fp32", "requested; the bundle has no int8"):
        assert text in said


def test_cpu_engines_run_small_batches_on_every_core(bundles: Path, machine: None) -> None:
    """CXR_WORKERS bounds the cores."""
    for engine in (ORT, OV):
        settings = make_settings(bundles, engine=engine, workers=3)
        made = build_engine(open_bundle(bundles / "cnn"), settings)
        assert (made.name, made.concurrency, made.max_batch) == (engine, 3, CPU_BATCH)


def settings_for(bundle: Path, **changes: Any) -> Settings:
    """Make settings for one real bundle."""
    return make_settings(bundle, models="", **{"max_image_pixels": 4_000_000} | changes)


def inputs(count: int) -> NDArray[np.uint8]:
    """Make model inputs that are all different."""
    base = np.random.default_rng(0).integers(0, 128, (count, 1, 14, 14), dtype=np.uint8)
    images = np.kron(base, np.ones((8, 8), dtype=np.uint8))
    return images + np.arange(count, dtype=np.uint8)[:, None, None, None]


REAL = [(ORT, "fp32"), (ORT, "int8"), (OV, "fp32"), (OV, "int8"), (OV, "bf16")]


def has(precision: str) -> bool:
    """Ask whether this machine can compute in it."""
    return look_at_machine().is_fast_in(precision)


@pytest.fixture(params=REAL, ids="-".join)
def real_engine(request: pytest.FixtureRequest, int8_bundle: Path) -> Engine:
    """Each engine in each precision, on a trained network."""
    name, precision = request.param
    if not has(precision):
        pytest.skip(f"the CPU has no instructions for {precision}")
    chosen = {"engine": name, "precision": precision, "workers": 3}
    models = load_models(settings_for(int8_bundle, **chosen), build_engine)
    return models["smoke"].engine


def run_one(engine: Engine, image: ModelInput) -> OutputRow:
    """Run one image."""
    row = row_of(engine.run(image[np.newaxis]), 0)
    assert isinstance(row, OutputRow)
    return row


def test_engines_answer_as_pytorch_within_their_tolerance(
    real_engine: Engine, int8_bundle: Path
) -> None:
    """Goldens matched at start; other images stay within what the manifest allows."""
    bundle = open_bundle(int8_bundle)
    images = bundle.golden_tensors().images
    reference = TorchRunner(served_network(bundle.weights_path, bundle.manifest)).run(images)
    given = [run_one(real_engine, image) for image in images]
    allowed = bundle.manifest.rounding_of(real_engine.precision).times(GOLDENS_FACTOR)
    slack = 1e-4  # of fp32 itself
    for index, row in enumerate(given):
        assert np.abs(row.logits - reference.logits[index]).max() <= allowed.logits + slack
        distance = np.linalg.norm(row.embedding - reference.embedding[index])
        length = np.linalg.norm(reference.embedding[index])
        assert distance <= (allowed.embedding + slack) * length


def test_precision_is_really_computed_in(real_engine: Engine, int8_bundle: Path) -> None:
    """fp32 is exact, and what is not fp32 shows it: no engine answers in another precision."""
    goldens = open_bundle(int8_bundle).golden_tensors()
    logits = np.concatenate([real_engine.run(i[np.newaxis]).logits for i in goldens.images])
    gap = float(np.abs(logits - goldens.logits).max())
    assert (gap < 1e-4) == (real_engine.precision == "fp32")


def test_runs_from_many_threads_do_not_mix(real_engine: Engine) -> None:
    """Each caller gets its own image's answer, also when there are more callers than requests."""
    images = inputs(60)
    alone = [run_one(real_engine, image) for image in images]
    assert len({row.embedding.tobytes() for row in alone}) == 60
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda image: run_one(real_engine, image), images))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one.embedding, other.embedding)
        np.testing.assert_array_equal(one.logits, other.logits)


@pytest.mark.skipif(not THREADS.exists(), reason="threads are counted as Linux shows them")
def test_openvino_runs_in_the_calling_thread(int8_bundle: Path) -> None:
    """However many call, no thread of its own works for them: none would share the cores fairly."""
    chosen = {"engine": OV, "precision": "fp32", "workers": 2}
    settings, bundle = settings_for(int8_bundle, **chosen), open_bundle(int8_bundle)
    build_engine(bundle, settings)  # whatever a library begins once has begun
    threads = len(list(THREADS.iterdir()))
    engine, images = build_engine(bundle, settings), inputs(1)
    engine.run(images)
    assert len(list(THREADS.iterdir())) <= threads

    def run_often(_: int) -> float:
        before_s = time.thread_time()
        for _ in range(200):
            engine.run(images)
        return time.thread_time() - before_s

    for callers in (1, 2):
        threads = len(list(THREADS.iterdir()))
        with ThreadPoolExecutor(callers) as pool:
            before_s = time.process_time()
            own_s = sum(pool.map(run_often, range(callers)))
            whole_s = time.process_time() - before_s
            assert whole_s <= 1.25 * own_s + 0.01, "another thread computed"
            assert len(list(THREADS.iterdir())) <= threads + callers


def test_answers_outlive_the_next_run(real_engine: Engine) -> None:
    """No answer is a view of a buffer that the next run overwrites."""
    first, second = inputs(2)
    answer = real_engine.run(first[np.newaxis])
    before = answer.embedding.copy()
    real_engine.run(second[np.newaxis])
    np.testing.assert_array_equal(answer.embedding, before)


def test_openvino_opens_no_connection(
    bundles: Path, machine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its package brings a telemetry module; nothing of ours makes it speak."""

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    models = load_models(make_settings(bundles, engine=OV), build_engine)
    assert models["resnet18"].engine.provider == "CPU"


@pytest.mark.parametrize("engine", [ORT, OV])
def test_graph_that_is_none_is_one_line(tmp_path: Path, machine: None, engine: str) -> None:
    """Each library's complaint is told in one line."""
    path = make_bundle(tmp_path)
    (path / "model.onnx").write_bytes(b"junk")
    write_manifest(path, json.loads((path / "manifest.json").read_text()))
    with pytest.raises(StartupError, match="cannot load model resnet18") as caught:
        load_models(make_settings(tmp_path, engine=engine), build_engine)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("precision", "starts"), [("fp32", False), ("int8", True)])
def test_goldens_have_the_tolerance_of_the_precision(
    tmp_path: Path, precision: str, starts: bool
) -> None:
    """What is rounding in eight bits is a wrong graph in fp32."""
    rounding = {"logits": 1.0, "probabilities": 1.0, "embedding": 1.0}
    section = {
        "file": "model.onnx",
        "golden_tolerance": {"tensors": 0.1, "files": 0.1},
        "tolerance": rounding,
        "goldens": None,
        "figures": None,
    }
    make_bundle(tmp_path, precisions={"int8": section})
    engine = FakeEngine()
    engine.precision = precision  # type: ignore[misc]
    run = engine.run

    def rounded(images: NDArray[np.uint8]) -> Any:
        output = run(images)
        output.probabilities[:] += 0.01
        return output

    engine.run = rounded  # type: ignore[method-assign]
    settings = make_settings(tmp_path)
    if starts:
        assert load_models(settings, engine.build)
        return
    with pytest.raises(StartupError, match="golden tensors"):
        load_models(settings, engine.build)
