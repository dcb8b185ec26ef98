"""The real process: uvicorn, signals, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

import httpx
import pytest

from service.client import Client
from tests.service.fake_engine import POISON
from tests.service.make_bundle import make_bundle
from tests.service.make_images import make_flat_png, make_png

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0
SETTINGS = {"CXR_PROVIDER": "cpu", "CXR_EXPLAIN": "off", "CXR_ACCESS": "anonymous"}
PYTHON = (sys.executable, "-W", "error")


class Process:
    """``python -m service`` on a port of its own.

    Args:
        bundles: Folder of bundles.
        folder: Where its output is kept.
        code: Python code to run instead of the module.
        **variables: Further CXR_* settings.
    """

    def __init__(self, bundles: Path, folder: Path, code: str = "", **variables: str) -> None:
        self._out: IO[str] = (folder / "out").open("w+")
        self._err: IO[str] = (folder / "err").open("w+")
        command = ("-c", code) if code else ("-m", "service")
        environ = {k: v for k, v in os.environ.items() if not k.startswith("CXR_")}
        self.popen = subprocess.Popen(
            [*PYTHON, *command, "--port", "0", "--bundles", str(bundles)],
            cwd=ROOT,
            # The graph of the tests' bundles has no PyTorch network that could be explained.
            env=environ | SETTINGS | variables,
            stdout=self._out,
            stderr=self._err,
        )

    def stdout(self) -> str:
        """Give what was written to standard output."""
        return Path(self._out.name).read_text()

    def stderr(self) -> str:
        """Give what was written to standard error."""
        return Path(self._err.name).read_text()

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until something is true, or fail with what was said so far."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, self.stdout() + self.stderr()
            time.sleep(0.01)

    def url(self) -> str:
        """Wait until the service is ready and give its address."""
        self.wait_for(lambda: "Ready at" in self.stderr() or self.popen.poll() is not None)
        match = re.search(r"Ready at (\S+)", self.stderr())
        assert match, self.stdout() + self.stderr()
        return match[1]

    def stop(self) -> int:
        """Ask the process to stop and give its exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(PATIENCE_S)

    def close(self) -> None:
        """End the process, whatever it does."""
        self.popen.kill()
        self.popen.wait()
        self._out.close()
        self._err.close()


@pytest.fixture
def start(bundles: Path, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start processes and end them after the test."""
    started: list[Process] = []

    def start_one(root: Path = bundles, **variables: str) -> Process:
        started.append(Process(root, tmp_path, **variables))
        return started[-1]

    yield start_one
    for process in started:
        process.close()


def test_serves_and_stops_cleanly(start: Callable[..., Process]) -> None:
    """Told where it is, asked, stopped: exit code 0, JSON lines only on standard output."""
    process = start()
    url = process.url()
    assert f"curl --data-binary @image.jpeg {url}/v1/predict" in process.stderr()
    assert f"{url}/docs" in process.stderr()
    with Client(url) as client:
        assert client.ready()
        assert client.predict(make_png(200)).results[0].status == "ok"
    assert process.stop() == 0
    events = [json.loads(line)["event"] for line in process.stdout().splitlines()]
    assert events.count("model loaded") == 2
    assert {"request", "draining"} <= set(events)
    assert "Traceback" not in process.stdout() + process.stderr()


def test_drain_finishes_what_was_accepted(start: Callable[..., Process]) -> None:
    """After SIGTERM a half-sent request is answered, new ones are refused, liveness holds."""
    process = start(CXR_DRAIN_DELAY_S="0.3")
    url = httpx.URL(process.url())
    file = make_png(200)
    head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(file)}\r\n\r\n"
    with (
        socket.create_connection((url.host, url.port), PATIENCE_S) as accepted,
        httpx.Client(base_url=url) as other,
    ):
        accepted.sendall(head.encode() + file[:40])
        process.wait_for(lambda: other.get("/health").json()["active_requests"] == 1)
        process.popen.send_signal(signal.SIGTERM)
        process.wait_for(lambda: other.get("/health").json()["status"] == "draining")
        refused = other.post("/v1/predict", content=file)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert other.get("/health/ready").status_code == 503
        assert other.get("/health/live").status_code == 200
        accepted.sendall(file[40:])
        with accepted.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
    assert process.popen.wait(PATIENCE_S) == 0


def test_drain_ends_in_time(start: Callable[..., Process]) -> None:
    """A client that never finishes sending cannot keep the process from ending."""
    process = start(CXR_DRAIN_S="0.2")
    url = httpx.URL(process.url())
    with socket.create_connection((url.host, url.port), PATIENCE_S) as stuck:
        stuck.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n\x89PNG")
        process.wait_for(lambda: httpx.get(url.join("/health")).json()["active_requests"] == 1)
        assert process.stop() == 1
    assert "cut off" in process.stdout()


STUCK_ENGINE = """
import sys, time
from service import __main__
from service.app import server
from tests.service.fake_engine import POISON, FakeEngine

class StuckEngine(FakeEngine):
    def run(self, images):
        if (images == POISON).all(axis=(1, 2, 3)).any():
            time.sleep(3600)
        return super().run(images)

server.build_engine = StuckEngine().build
sys.exit(__main__.main())
"""


def test_engine_that_hangs_cannot_hold_up_the_end(start: Callable[..., Process]) -> None:
    """The process ends when the time to drain is over, whatever its threads do."""
    process = start(
        code=STUCK_ENGINE, CXR_ISOLATION="threads", CXR_DRAIN_S="0.2", CXR_DEADLINE_MS="60000"
    )
    url = process.url()
    with ThreadPoolExecutor(1) as pool, httpx.Client(base_url=url) as client:
        stuck = pool.submit(client.post, "/v1/predict", content=make_flat_png(POISON), timeout=60)
        process.wait_for(lambda: httpx.get(f"{url}/health").json()["active_requests"] == 1)
        assert process.stop() == 1
        assert stuck.result().status_code == 503  # another replica may still answer it


def test_alive_after_abuse(start: Callable[..., Process]) -> None:
    """Aborted uploads, garbage and bursts leave an empty queue and a service that answers."""
    process = start(CXR_QUEUE_CAPACITY="64")
    url = httpx.URL(process.url())
    heads = [
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\nabc",
        b"\x00" * 99,
    ]
    for head in heads * 5:
        with socket.create_connection((url.host, url.port), PATIENCE_S) as rude:
            rude.sendall(head)
    with ThreadPoolExecutor(8) as pool, Client(str(url)) as client:
        files = [make_png(50 + i) for i in range(64)]
        answers = list(pool.map(client.predict, files))
    probabilities = [answer.results[0].probability for answer in answers]
    assert probabilities == sorted(probabilities)
    health = httpx.get(url.join("/health")).json()
    assert (health["status"], health["active_requests"]) == ("ready", 0)
    assert [model["queue_depth"] for model in health["models"]] == [0, 0]
    assert process.stop() == 0


def test_large_refused_body_reads_its_answer(start: Callable[..., Process]) -> None:
    """A client that sends far too much still learns why it is refused."""
    url = start(CXR_MAX_BODY_BYTES="2000").url()
    response = httpx.post(f"{url}/v1/predict", content=bytes(8_000_000))
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"CXR_PROVIDER": "cuda", "CUDA_VISIBLE_DEVICES": ""}, "CXR_PROVIDER=cuda"),
        ({"CXR_DEFAULT_MODEL": "zz"}, "CXR_DEFAULT_MODEL is zz"),
        ({"CXR_TYPO": "1"}, "CXR_TYPO"),
    ],
    ids=["no cuda", "no such default", "typing error"],
)
def test_failed_start_is_one_line(
    start: Callable[..., Process], variables: dict[str, str], message: str
) -> None:
    """Exit code 1, one line for the operator, no traceback."""
    process = start(**variables)
    assert process.popen.wait(PATIENCE_S) == 1
    assert message in process.stderr()
    assert process.stderr().startswith("error: ")
    assert process.stderr().count("\n") == 1


def test_stop_while_starting(start: Callable[..., Process], tmp_path: Path) -> None:
    """A service that is not ready yet can be stopped as cleanly."""
    root = tmp_path / "slow"
    for i in range(6):
        make_bundle(root, f"model{i}")
    process = start(root)
    process.wait_for(lambda: "model loaded" in process.stdout() or process.stderr())
    assert process.stop() == 0
    assert "Traceback" not in process.stderr()


def test_server_loads_no_torch() -> None:
    """Nor anything else of training: it starts fast and small."""
    heavy = ["torch", "sklearn", "matplotlib", "training", "export"]
    code = (
        "import sys, service.__main__, service.app.server, service.commands.scoring; "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
