"""The real process: full disks, deleted bundles, jumping clocks, signals."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from service.client import Client
from service.client.exchange import Retry
from tests.chaos.aftermath import GREY, PATIENCE_S, probability_at, verify_process_unharmed
from tests.live import LiveServer, running_server
from tests.service.make_images import make_png
from tests.service.test_server import Process

Start = Callable[..., Process]

CLIENTS = 8
GONE = "no connection"

LOG_ON_A_FULL_DISK = """
import os, sys
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
from service.__main__ import main
sys.exit(main())
"""

CLOCK_FROM_A_FILE = """
import os, pathlib, sys, time
shift, real = pathlib.Path(os.environ.pop("SHIFT")), time.time
time.time = lambda: real() + float(shift.read_text() or 0)
from service.__main__ import main
sys.exit(main())
"""


@pytest.fixture
def start_with(bundles: Path, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start services after some lines of Python; all end with the test."""
    started: list[Process] = []

    def start_one(code: str, **variables: str) -> Process:
        started.append(Process(bundles, tmp_path, code, **variables))
        return started[-1]

    yield start_one
    for process in started:
        process.close()


def test_disk_full_under_the_log(start_with: Callable[..., Process]) -> None:
    """Requests are answered though no line about them can be written, and nothing else is said."""
    process = start_with(LOG_ON_A_FULL_DISK)
    url = process.url()
    expected = probability_at(url)
    with ThreadPoolExecutor(CLIENTS) as pool, Client(url) as client:
        answers = list(pool.map(client.predict, [make_png(60 + i) for i in range(40)]))
    assert [answer.results[0].status for answer in answers] == ["ok"] * 40
    verify_process_unharmed(url, expected)
    assert "Traceback" not in process.stderr()
    assert process.stop() == 0


def test_bundle_deleted_under_it(start: Start, bundles: Path, tmp_path: Path) -> None:
    """What was loaded goes on being served, described and matched."""
    copy = Path(shutil.copytree(bundles, tmp_path / "bundles"))
    process = start(copy)
    url = process.url()
    expected, models = probability_at(url), httpx.get(f"{url}/v1/models").json()
    shutil.rmtree(copy)
    for model in ("cnn", "resnet18"):
        answer = httpx.post(f"{url}/v1/predict?model={model}", content=make_png(GREY))
        assert answer.status_code == 200
    assert httpx.get(f"{url}/v1/models").json() == models
    verify_process_unharmed(url, expected)
    assert process.stop() == 0


@pytest.mark.parametrize("shift_s", [86_400 * 366, -86_400 * 366], ids=["forward", "back"])
def test_wall_clock_jumps(
    start_with: Callable[..., Process],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    shift_s: int,
) -> None:
    """Deadlines, queues and readiness go by a clock that nobody sets."""
    shift = tmp_path / "shift"
    shift.write_text("0")
    monkeypatch.setenv("SHIFT", str(shift))
    process = start_with(CLOCK_FROM_A_FILE, CXR_DEADLINE_MS="2000")
    url = process.url()
    expected = probability_at(url)
    with ThreadPoolExecutor(CLIENTS) as pool, Client(url) as client:
        posts = [pool.submit(client.predict, make_png(60 + i)) for i in range(60)]
        shift.write_text(str(shift_s))
        assert [post.result().results[0].status for post in posts] == ["ok"] * 60
    verify_process_unharmed(url, expected)

    def told_shift_s() -> float:
        answer = httpx.get(f"{url}/health")
        assert 0 < answer.json()["uptime_s"] < 60
        return parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()

    process.wait_for(lambda: abs(told_shift_s() - shift_s) < 60)  # it did jump
    assert process.stop() == 0


def ask_until_gone(url: str) -> Counter[int | str]:
    """Ask again and again until nobody listens any more; give what came of it."""
    seen: Counter[int | str] = Counter()
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        while True:
            try:
                answer = client.post("/v1/predict", content=make_png(GREY))
            except httpx.ConnectError:
                return seen
            except (httpx.ReadError, httpx.RemoteProtocolError):
                seen[GONE] += 1  # in the backlog of a listener that was closed: not accepted
                return seen
            seen[answer.status_code] += 1
            time.sleep(0.005)


def test_sigterm_under_load(start: Start) -> None:
    """What was accepted is answered, what comes later refused; client and log count the same."""
    process = start(CXR_DRAIN_DELAY_S="0.5")
    url = process.url()
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(ask_until_gone, url) for _ in range(CLIENTS)]
        time.sleep(1.0)
        process.popen.send_signal(signal.SIGTERM)
        assert process.popen.wait(PATIENCE_S) == 0
        seen = sum((client.result() for client in clients), Counter())
    lines = [json.loads(line) for line in process.stdout().splitlines()]
    logged = Counter(line["status"] for line in lines if line["event"] == "request")
    assert set(logged) <= {200, 429, 503}
    assert logged[200] > CLIENTS < logged[503]
    assert {status: count for status, count in seen.items() if status != GONE} == logged
    assert seen[GONE] <= CLIENTS


@pytest.fixture
def live_server(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    """A service that can be killed and started again."""
    monkeypatch.setenv("CXR_EXPLAIN", "off")
    with running_server(bundles) as server:
        yield server


def test_sigkill_costs_retrying_clients_nothing(live_server: LiveServer) -> None:
    """Killed twice and started again under load: every file has its own answer in the end."""
    retry = Retry(attempts=60, base_s=0.1, longest_s=0.5)  # a start may take long
    expected = probability_at(live_server.address)
    files = [make_png(50 + i % 150) for i in range(300)]
    with ThreadPoolExecutor(4) as pool, Client(live_server.address, retry=retry) as client:
        alone = [client.predict(file).results[0].probability for file in files[:150]]
        posts = [pool.submit(client.predict, file) for file in files]
        for _ in range(2):
            time.sleep(0.2)
            live_server.kill()
            live_server.start()
        given = [post.result().results[0].probability for post in posts]
    assert given == alone + alone
    verify_process_unharmed(live_server.address, expected)
