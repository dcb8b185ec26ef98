"""A short soak of the real process, and what makes a soak end unclean."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos import MISBEHAVIOURS, Outcome
from benchmarks.contest import MIB, measure_server
from benchmarks.process import cpu_s_of
from benchmarks.server import Server, start_service
from benchmarks.soak import Soak, compute_goldens, soak
from tests.service.make_bundle import make_bundle
from tests.service.make_images import make_jpeg, make_png

SETTINGS = {"CXR_EXPLAIN": "off", "CXR_PROVIDER": "cpu", "CXR_MAX_BATCH": "4"}
MODEL = "resnet18"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundle of the service's tests."""
    root = tmp_path_factory.mktemp("bundles")
    make_bundle(root, MODEL)
    return root


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Files whose grey level, and so whose answer, differs."""
    folder = tmp_path_factory.mktemp("files")
    paths = tuple(folder / f"{mean}.jpeg" for mean in (90, 110, 130, 150))
    for path in paths:
        path.write_bytes((make_jpeg, make_png)[int(path.stem) % 20 == 10](int(path.stem)))
    return paths


@pytest.fixture(scope="module")
def server(bundles: Path, files: tuple[Path, ...]) -> Iterator[Server]:
    """The service as a process of its own."""
    with start_service(bundles, MODEL, files[0].read_bytes(), SETTINGS) as running:
        yield running


@pytest.mark.anyio
async def test_two_seconds_end_clean(
    server: Server, files: tuple[Path, ...], bundles: Path
) -> None:
    """Every good answer is its golden, every bad body is refused, and nothing is left waiting."""
    goldens = compute_goldens(files, bundles, MODEL, SETTINGS)
    assert len(set(goldens.values())) == len(files)
    seen = await soak(
        server.target, server.process.pid, files, goldens, 2.0, good_clients=3, bad_clients=4
    )
    assert seen.faults == []
    assert seen.counts["good: 200"] > 0
    assert seen.at_end == {"active_requests": 0, f"queue_depth of {MODEL}": 0}
    done = {name.partition(":")[0] for name in seen.counts}
    assert len(done & {one.__name__ for one in MISBEHAVIOURS}) > 2


@pytest.mark.anyio
async def test_swapped_goldens_are_noticed(server: Server, files: tuple[Path, ...]) -> None:
    """A service that answered for another file would not pass."""
    wrong = dict.fromkeys(range(len(files)), 0.123)
    seen = await soak(
        server.target, server.process.pid, files, wrong, 0.3, good_clients=1, bad_clients=0
    )
    assert seen.counts["wrong"] == seen.counts["good: 200"] > 0
    assert "golden" in seen.faults[0]


def test_a_closed_loop_is_measured(server: Server, files: tuple[Path, ...]) -> None:
    """All is answered, CPU and memory are the server's, and the generator tells its own cost."""
    before = cpu_s_of(server.process.pid)
    figures = measure_server(server, files, 2, 0.5)
    assert figures["summary"]["answered"] == figures["summary"]["requests"] > 0
    assert figures["probabilities"].keys() == set(range(len(files)))
    assert cpu_s_of(server.process.pid) > before
    assert figures["rss_mib"] > 10
    assert figures["generator_cores"] > 0


@pytest.mark.parametrize(
    ("what", "outcome", "clean"),
    [
        ("good", Outcome(200, b'{"results": [{"probability": 0.7}]}', 0), True),
        ("good", Outcome(200, b'{"results": [{"probability": 0.71}]}', 0), False),
        ("good", Outcome(429, b"", 0), True),
        ("good", Outcome(500, b"", 0), False),
        ("send_noise", Outcome(415), True),
        ("send_noise", Outcome(500), False),
        ("send_noise", Outcome(200), False),
        ("leave_while_sending", Outcome(None), True),
    ],
)
def test_answers_are_judged(what: str, outcome: Outcome, clean: bool) -> None:
    """Wrong numbers and statuses that a client does not deserve are faults."""
    seen = Soak({0: 0.7})
    seen.check(what, outcome)
    assert (seen.counts["wrong"] == 0) is clean


def soaked(first_mib: int, last_mib: int, **at_end: int) -> Soak:
    seen = Soak({}, at_end={"active_requests": 0, **at_end})
    seen.counts["good: 200"] = 1
    seen.rss_bytes = [first_mib * MIB] * 10 + [last_mib * MIB] * 10
    return seen


def test_memory_that_grows_and_queues_that_hold_are_faults() -> None:
    """Flat within five percent and an arena's step; nothing may wait at the end."""
    assert soaked(300, 310).faults == []
    assert "grew from 300 to 400" in soaked(300, 400).faults[0]
    assert soaked(300, 300, queue_depth=2).faults == ["queue_depth is 2 at the end"]


def test_a_service_that_is_gone_is_a_fault() -> None:
    """No good answer, no word of its queues: not clean."""
    seen = Soak({}, rss_bytes=[MIB])
    assert len(seen.faults) == 2
