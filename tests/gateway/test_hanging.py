"""Health, metrics and everybody else while the database, an archive or a disk does not answer."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.errors import QueueFullError
from service.gateway.http.threads import Outlook, Pulls
from service.gateway.known_state import KnownState
from service.telemetry.gateway import GatewayState
from tests.gateway.fakes import FakeArchive
from tests.gateway.objects import make_object
from tests.gateway.process import GatewayProcess, until
from tests.gateway.test_gateway import stow

pytestmark = pytest.mark.xdist_group("waits")

Start = Callable[..., GatewayProcess]

PROBES = ("/health/live", "/health/ready", "/health", "/metrics")


@contextmanager
def asking(many: int, ask: Callable[[], httpx.Response]) -> Iterator[list[Any]]:
    """Ask many times at once, and give the answers, which are there at the end."""
    answers: list[Any] = []
    with ThreadPoolExecutor(many) as pool:
        for one in [pool.submit(ask) for _ in range(many)]:
            one.add_done_callback(lambda done: answers.append(done.exception() or done.result()))
        yield answers


@pytest.fixture
def hang(archive: FakeArchive) -> Iterator[threading.Event]:
    """An archive that answers nobody until this is set."""
    is_over = threading.Event()
    archive.script = lambda number: is_over.wait(60) and None  # type: ignore[func-returns-value]
    yield is_over
    is_over.set()


def probe(gateway: GatewayProcess) -> None:
    """Ask all that must be answered whatever hangs; ten seconds is far less than it will."""
    with httpx.Client(base_url=gateway.url, timeout=10) as client:
        for path in PROBES * 3:
            assert client.get(path).status_code == 200


def test_pulls_that_hang_stop_nobody(
    start_gateway: Start, archive: FakeArchive, hang: threading.Event
) -> None:
    """Forty-five of them: as many as may be wait, the others are told to come again."""
    gateway = start_gateway(wado_url=archive.url, delivery_timeout_s=100, lease_s=200, max_pulls=3)
    url = f"{gateway.url}/v1/studies/1.2:analyze"
    with asking(45, lambda: httpx.post(url, timeout=90)) as answers:
        until(lambda: len(answers) == 42)
        probe(gateway)
        assert httpx.get(f"{gateway.url}/v1/jobs", timeout=10).status_code == 200
        assert stow(gateway, make_object()).status_code == 200
        refused = answers[0]
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
        assert refused.json()["type"] == "/docs/problems#queue-full"
        hang.set()
    assert sorted(one.status_code for one in answers) == [404] * 3 + [429] * 42
    assert httpx.post(url, timeout=30).status_code == 404


@pytest.mark.parametrize("route", ["jobs", "stow"])
def test_database_that_hangs_stops_no_probe(
    start_gateway: Start, tmp_path: Path, route: str
) -> None:
    """Nor do those who wait for it, however many: health says what was known, and how old it is."""
    gateway = start_gateway()
    stow(gateway, make_object(instance="1.5"))
    until(lambda: gateway.jobs(state="done"))
    httpx.get(f"{gateway.url}/health")
    asks = {
        "jobs": lambda: httpx.get(f"{gateway.url}/v1/jobs", timeout=90),
        "stow": lambda: stow(gateway, make_object()),
    }
    other = sqlite3.connect(tmp_path / "spool" / "inbox.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        with asking(45, asks[route]):
            probe(gateway)
            told = httpx.get(f"{gateway.url}/health", timeout=10).json()
            assert told["jobs"]["done"] == 1
            other.execute("ROLLBACK")
    finally:
        other.close()
    until(lambda: httpx.get(f"{gateway.url}/health").json()["age_s"] < 1)


class Slow:
    """A state that is read when it is told to be."""

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.reads = 0
        self.now_s = 0.0

    def read(self) -> GatewayState:
        """Read it."""
        self.reads += 1
        if self.reads > 1:
            self.may_go_on.wait(60)
        return GatewayState({"done": self.reads})


def test_state_that_is_not_told_is_the_last_known() -> None:
    """One thread waits for it, whoever asks; its age says how long it has not been told."""

    async def ask() -> None:
        slow = Slow()
        known = KnownState(slow.read, clock=lambda: slow.now_s)
        known.refresh()
        outlook = Outlook(known, clock=lambda: slow.now_s)
        for slow.now_s in (1.0, 2.0, 3.0):
            await outlook.look()
        assert (known.last().jobs, known.last().age_s, slow.reads) == ({"done": 1}, 3.0, 2)
        slow.may_go_on.set()
        while known.last().jobs != {"done": 2}:
            await asyncio.sleep(0.01)
        assert known.last().age_s == 2.0  # it is as old as the question

    asyncio.run(ask())


def test_state_that_cannot_be_read_is_the_last_known(caplog: pytest.LogCaptureFixture) -> None:
    """With a line in the log; the next who asks has it read again."""

    def fail() -> GatewayState:
        raise OSError(5, "Canary")

    async def ask() -> None:
        known = KnownState(fail)
        outlook = Outlook(known)
        for _ in range(2):
            await outlook.look()
        assert known.last().jobs == {}

    asyncio.run(ask())
    assert [record.message for record in caplog.records] == ["state not read"] * 2


def test_pull_that_fails_makes_room() -> None:
    """As one that ends well does."""

    async def pull() -> None:
        pulls = Pulls(1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await pulls.run(lambda: 1 // 0)
        is_over = threading.Event()
        first = asyncio.create_task(pulls.run(lambda: is_over.wait(30)))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await pulls.run(lambda: True)
        is_over.set()
        assert await first
        assert await pulls.run(lambda: True)

    asyncio.run(pull())
