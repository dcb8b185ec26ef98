"""What a run is made of, without its minutes."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import gpu
from benchmarks import run as run_module
from benchmarks.__main__ import build_parser
from benchmarks.contest import Figures, LimitFigures, Loaded, Way, measure_limit, ways
from benchmarks.contestants import Contestants
from benchmarks.engine import INT8_NAME
from benchmarks.files import PHANTOM_COUNT, PHANTOMS, Files, default_originals, find_files
from benchmarks.limit import LimitPlan
from benchmarks.options import options_of
from benchmarks.overload import OverloadFigures, account, middle
from benchmarks.rounds import MOSEC, SERVICE, Rounds
from benchmarks.table import gpu_part
from benchmarks.tally import OK, Record, summarise
from cxr.images.decoding import decode_image
from service.engines.machine import usable_cores
from tests.service.fake_engine import FakeEngine
from tests.service.make_bundle import make_bundle, probabilities_of
from tests.service.make_images import make_jpeg

pytestmark = pytest.mark.xdist_group("waits")


def limit(per_s: float, cpu: float, taken_ms: float = 10.0) -> LimitFigures:
    return {
        "per_s": per_s,
        "cpu_s_per_1000": cpu,
        "rss_mib": 100.0,
        "taken_p50_ms": taken_ms,
        "probabilities": {},
    }


def server(per_s: float, cpu: float, taken_s: float = 0.012) -> Figures:
    return {
        "per_s": per_s,
        "cpu_s_per_1000": cpu,
        "cores": 1.0,
        "rss_mib": 200.0,
        "pss_mib": 150.0,
        "generator_cores": 0.1,
        "summary": summarise([Record(0, taken_s, OK, 0)], 1.0),
        "probabilities": {},
    }


def overloaded(good_per_s: float, p99_ms: float | None, recovery_s: float) -> OverloadFigures:
    lone = Record(0, 0.1, OK, 0)
    phases = {"before": [lone], "during": [lone], "after": [lone]}
    figures = account(Loaded(phases, 1.0, 0.1, 1.0, {}), 1.0)
    figures["good_per_s"], figures["recovery_s"] = good_per_s, recovery_s
    figures["summary"]["p99_ms"] = p99_ms
    return figures


def test_ratios_are_of_the_same_round() -> None:
    """A machine half as quick in one round changes no ratio."""
    rounds = Rounds(limits=[limit(100, 20), limit(50, 40)], lone=[limit(1, 1), limit(1, 1, 20.0)])
    rounds.servers = {
        "service, 1": [server(1, 1), server(1, 1, 0.024)],
        "service, 32": [server(90, 22), server(45, 44)],
        "mosec, fp32, 32": [server(30, 1), server(15, 1)],
        "litserve, fp32, 32": [server(60, 1)],  # quicker, but it failed in a round
    }
    rounds.limits_beside = [limit(100, 1), limit(50, 1)]
    rounds.overloads = {"service": [overloaded(95, 1, 1), overloaded(47.5, 1, 1)]}
    ratios = {name: one for name, one in rounds.ratios().items() if one is not None}
    expected = {"cpu": 1.1, "lone": 1.2, "rate_1": 0.015, "rate_32": 0.9, "peer_fp32": 3.0}
    assert ratios == pytest.approx(expected | {"overload_good": 0.95})


def test_mosec_is_compared_in_the_same_round() -> None:
    """In every respect, under loads and overloads."""
    rounds = Rounds()
    rounds.servers = {
        "service, 8": [server(80, 1), server(40, 1)],
        "mosec, int8, 8": [server(100, 1), server(50, 1)],
        "service, 32": [server(90, 22, 0.1), server(45, 44, 0.2)],
        "mosec, int8, 32": [server(60, 20, 0.2), server(30, 40, 0.4)],
    }
    rounds.overloads = {
        "service": [overloaded(90, 100, 0.1), overloaded(45, 200, 0.2)],
        "mosec, int8": [overloaded(60, 400, 0.4), overloaded(30, 800, 0.8)],
    }
    loads = {"rate_8": 0.8, "rate_32": 1.5, "cpu": 1.1, "p99_32": 0.5}
    overloads = {"overload_good": 1.5, "overload_p99": 0.25, "overload_recovery": 0.25}
    assert rounds.beside_mosec() == pytest.approx(loads | overloads)


def test_a_peer_that_failed_in_a_round_is_not_compared() -> None:
    """Which of its rounds was the service's is not known."""
    rounds = Rounds(servers={"service, 32": [server(90, 1)] * 2, MOSEC + ", 32": [server(60, 1)]})
    assert set(rounds.beside_mosec().values()) == {None}


def test_an_overload_is_told_by_its_middle_round() -> None:
    """Figure by figure; that nobody was answered is the worst that can be."""
    rounds = [overloaded(9, None, 6.0), overloaded(7, 200, 0.3), overloaded(8, 100, 0.1)]
    told = middle(rounds)
    assert (told["good_per_s"], told["summary"]["p99_ms"], told["recovery_s"]) == (8, 200, 0.3)
    assert middle(rounds[:2])["summary"]["p99_ms"] is None


@pytest.mark.parametrize(
    ("parts", "names"),
    [
        ("rounds", []),
        ("mosec", [MOSEC]),
        ("peers", [MOSEC, "litserve, int8", "mosec, fp32", "litserve, fp32"]),
    ],
)
def test_parts_choose_who_is_measured(parts: str, names: list[str], tmp_path: Path) -> None:
    """The service always is, and mosec next to it."""
    bundle = make_bundle(tmp_path, "resnet18")
    (bundle / INT8_NAME).touch()
    options = options_of(
        build_parser().parse_args(["run", "--bundles", str(tmp_path), "--only", parts])
    )
    assert Contestants("resnet18", options, b"").names == ("service", *names)


def test_everybody_is_measured_in_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit, the service and mosec, round by round, then overloaded likewise."""
    seen: list[str] = []

    class Both:
        names = (SERVICE, MOSEC)
        has_int8 = True

        def start(self, name: str) -> Any:
            return nullcontext(name)

    def measure(name: Any, files: Any, concurrency: int, seconds: float) -> Figures:
        seen.append(f"{name} at {concurrency}")
        return server(90, 1)

    def overload(name: Any, *_: Any) -> OverloadFigures:
        seen.append(f"{name} overloaded")
        return overloaded(80, 100, 0.1)

    def measure_one_limit(*_: Any) -> LimitFigures:
        seen.append("limit")
        return limit(100, 1)

    monkeypatch.setattr(run_module, "Contestants", lambda *_: Both())
    monkeypatch.setattr(run_module, "measure_limit", measure_one_limit)
    monkeypatch.setattr(run_module, "measure_server", measure)
    monkeypatch.setattr(run_module, "overload", overload)
    arguments = ["run", "--rounds", "2", "--only", "mosec", "overload"]
    path = tmp_path / "a.jpeg"
    path.touch()
    options = options_of(build_parser().parse_args(arguments))
    run = run_module.Run("resnet18", options, Files((path,), "phantoms"))
    run.measure()

    loads = [f"{SERVICE} at {n}" for n in (1, 8, 32)] + [f"{MOSEC} at {n}" for n in (8, 32)]
    overloads = [f"{name} overloaded" for name in (SERVICE, MOSEC)]
    tries = ["limit"] * len(ways(usable_cores()))
    assert seen == tries + 2 * ["limit", "limit", *loads] + 2 * ["limit", *overloads]
    assert run.results["mosec"]["overload_good"] == 1.0
    assert run.results["overload"]["good_per_s"] == 80


def test_the_limit_runs_in_processes_of_its_own(tmp_path: Path) -> None:
    """Every file is answered as the graph answers, and its CPU time is known."""
    make_bundle(tmp_path / "bundles", "resnet18")
    paths = tuple(tmp_path / f"{mean}.jpeg" for mean in (90, 150))
    for path in paths:
        path.write_bytes(make_jpeg(int(path.stem)))
    plan = LimitPlan(str(tmp_path / "bundles"), "resnet18", tuple(map(str, paths)), 2, 1, 0.3)
    figures = measure_limit(plan, 1, {"CXR_PROVIDER": "cpu"})
    assert figures["per_s"] > 0
    assert figures["cpu_s_per_1000"] > 0
    for number, path in enumerate(paths):
        mean = decode_image(path.read_bytes()).pixels.mean()
        expected = probabilities_of(np.full((1, 1, 1, 1), mean))[0, 1]
        assert figures["probabilities"][number] == pytest.approx(expected, abs=0.02)


def test_the_limit_tries_threads_and_processes() -> None:
    """As many loops as cores, either way; on one core they are the same."""
    assert {way.processes * way.threads for way in ways(4)} == {4}
    assert Way(1, 4, 1) in ways(4)
    assert Way(4, 1, 8) in ways(4)
    assert len(ways(1)) == 2


def test_what_was_measured_before_a_failure_is_kept(tmp_path: Path) -> None:
    """What cannot be measured is named in the notes, and the run goes on and says so."""
    arguments = ["run", "--bundles", str(tmp_path), "--data", str(tmp_path)]
    arguments += ["--only", "memory", "start"]
    (tmp_path / "a.jpeg").write_bytes(make_jpeg(90))
    results = run_module.run(options_of(build_parser().parse_args(arguments)))
    assert results["is_whole"] is False
    notes = [model["notes"] for model in results["models"].values()] + [results["notes"]]
    assert len(notes) == 3
    assert all("Stopped: the service ended with" in note for (note,) in notes)


def test_phantoms_stand_in_for_originals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have the size of originals, differ, and are called what they are."""
    monkeypatch.setenv("CXR_SHARED_DATA", str(tmp_path / "absent"))
    monkeypatch.setattr("benchmarks.files.PHANTOM_COUNT", 2)
    files = find_files(None, tmp_path)
    assert files.kind == PHANTOMS
    assert PHANTOM_COUNT > len(files.paths) == 2
    assert default_originals() == tmp_path / "absent" / "originals"
    images = [decode_image(path.read_bytes()) for path in files.paths]
    assert all(image.width > 1000 for image in images)
    assert images[0].sha256 != images[1].sha256
    assert find_files(None, tmp_path).paths == files.paths


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    """Rather than measured with other files than were named."""
    with pytest.raises(FileNotFoundError):
        find_files(tmp_path, tmp_path)


def test_settings_pass_through() -> None:
    """Any CXR_* variable; a later one wins over what predictions are measured with."""
    arguments = ["run", "--quick", "--set", "CXR_PRECISION=int8", "--set", "CXR_PROVIDER=cuda"]
    options = options_of(build_parser().parse_args(arguments))
    assert options.settings["CXR_PRECISION"] == "int8"
    assert options.settings["CXR_PROVIDER"] == "cuda"
    assert (options.rounds, options.models) == (1, ("resnet18", "small_cnn"))


@pytest.mark.parametrize("text", ["PRECISION=int8", "CXR_PRECISION"])
def test_other_variables_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says what is expected."""
    with pytest.raises(SystemExit):
        build_parser().parse_args(["run", "--set", text])
    assert "CXR_NAME=value" in capsys.readouterr().err


def test_buckets_are_measured_one_by_one() -> None:
    """Each bucket of the service, in images per second."""
    engine = FakeEngine()
    rates = gpu.measure_buckets(engine, 32, 4, 0.01)
    assert list(rates) == ["1", "2", "4"]
    assert all(rate > 0 for rate in rates.values())
    assert set(engine.batches) == {1, 2, 4}


def test_no_device_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured on the CPU in its stead."""
    monkeypatch.setattr(gpu, "has_cuda_device", lambda: False)
    options: Any = None
    assert gpu.measure_gpu(options, options) == {"absent": gpu.ABSENT}


def test_gpu_is_measured_in_every_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each precision with and without graphs, the settings' own way over HTTP, and the table."""
    make_bundle(tmp_path, "resnet18", precisions={"fp16": fp16_section()})
    given = ["--bundles", str(tmp_path), "--cache", str(tmp_path / "cache")]
    given += ["--model", "resnet18", "--seconds", "0.02", "--set", "CXR_MAX_BATCH=4"]
    options = options_of(build_parser().parse_args(["run", *given]))
    asked: list[dict[str, Any]] = []
    served: list[dict[str, str]] = []

    def build(bundle: Any, settings: Any) -> FakeEngine:
        asked.append(settings.model_dump(include={"provider", "precision", "cuda_graphs"}))
        return FakeEngine()

    def start(*arguments: Any) -> Any:
        served.append(arguments[-1])
        return nullcontext()

    monkeypatch.setattr(gpu, "has_cuda_device", lambda: True)
    monkeypatch.setattr(gpu, "has_tensorrt", lambda: False)
    monkeypatch.setattr(gpu, "device_name", lambda number: f"device {number}")
    monkeypatch.setattr(gpu, "build_engine", build)
    monkeypatch.setattr(gpu, "start_service", start)
    monkeypatch.setattr(gpu, "measure_server", lambda *_: server(100.0, 1.0))
    path = tmp_path / "a.jpeg"
    path.write_bytes(make_jpeg(90))
    results = gpu.measure_gpu(options, Files((path,), "phantoms"))

    assert [(one["precision"], one["cuda_graphs"]) for one in asked] == [
        ("fp32", "on"),
        ("fp32", "off"),
        ("fp16", "on"),
        ("fp16", "off"),
    ]
    assert {one["provider"] for one in asked} == {"cuda"}
    [variables] = served
    assert variables["CXR_PROVIDER"] == "cuda"
    assert "CXR_PRECISION" not in variables
    model = results["models"]["resnet18"]
    limit = max(rate for rates in model["per_s_by_way"].values() for rate in rates.values())
    assert all(one["of_device"] == 100.0 / limit for one in model["end_to_end"].values())
    table = gpu_part(results)
    assert "device 0" in table
    assert "|  | 1 | 2 | 4 |" in table
    assert "| CUDA fp16, graphs | " in table


def fp16_section() -> dict[str, Any]:
    rounding = {"logits": 1.0, "probabilities": 1.0, "embedding": 1.0}
    tolerance = {"tensors": 0.1, "files": 0.1}
    shared = {"goldens": None, "figures": None, "file": "model.onnx"}
    return {"golden_tolerance": tolerance, "tolerance": rounding} | shared


def test_tensorrt_is_measured_where_it_is_installed() -> None:
    """In both precisions; a bundle without fp16 is measured in fp32 only."""
    names = [way.name for way in gpu.ways(("fp16",), with_tensorrt=True)]
    assert [name for name in names if "TensorRT" in name] == ["TensorRT fp32", "TensorRT fp16"]
    assert [way.name for way in gpu.ways((), False)] == ["CUDA fp32, graphs", "CUDA fp32"]
