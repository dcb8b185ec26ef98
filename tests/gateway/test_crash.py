"""Killed with -9 again and again: in the end one SR and one SC of every instance."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.gateway.inbox import Result
from service.gateway.related import build_related
from tests.gateway.conftest import Box, open_box
from tests.gateway.fakes import FakeArchive, FakeService, problem
from tests.gateway.objects import make_object
from tests.gateway.process import GatewayProcess, until

Start = Callable[..., GatewayProcess]

INSTANCES = 64
LIVES = 4
HALF_FAIL_UNTIL = 120  # requests to the service


class Sender(threading.Thread):
    """Sends each instance until it hears of success, as a modality does."""

    def __init__(self, gateways: list[GatewayProcess], studies: int) -> None:
        super().__init__(daemon=True)
        self._gateways = gateways
        self._studies = studies
        self.sent = 0

    def run(self) -> None:
        """Send all of them."""
        for i in range(INSTANCES):
            study = f"1.2.{i % self._studies}"
            content_type, body = build_related([make_object(study, instance=f"1.5.{i}")])
            while not self._send(i, content_type, body):
                time.sleep(0.05)
            self.sent += 1
            time.sleep(0.04)

    def _send(self, number: int, content_type: str, body: bytes) -> bool:
        gateway = self._gateways[number % len(self._gateways)]
        try:
            url, headers = f"{gateway.url}/dicomweb/studies", {"Content-Type": content_type}
            return httpx.post(url, content=body, headers=headers, timeout=10).status_code == 200
        except httpx.TransportError:
            return False


def live_through_crashes(
    gateways: list[GatewayProcess], fake_service: FakeService, archive: FakeArchive
) -> None:
    """Kill and restart everything while instances pass, then check what arrived."""
    busy = problem(503, "not-ready", Retry_After="0")
    fake_service.script = lambda number: busy if number < HALF_FAIL_UNTIL and number % 2 else None
    sender = Sender(gateways, studies=5)
    sender.start()
    for life in range(LIVES):
        until(lambda at=life: sender.sent >= (at + 1) * INSTANCES // (LIVES + 2))
        gateway = gateways[life % len(gateways)]
        gateway.kill()
        if life % 2:
            archive.stop()
        else:
            fake_service.stop()
        gateway.start()
        time.sleep(0.2)
        if life % 2:
            archive.start()
        else:
            fake_service.start()
    until(lambda: sender.sent == INSTANCES)
    expected = {f"1.5.{i}.{j}" for i in range(INSTANCES) for j in (1, 2)}
    until(lambda: set(archive.arrivals) == expected, 90)
    until(lambda: {job["state"] for job in gateways[0].jobs()} == {"done"})
    assert len(gateways[0].jobs()) == INSTANCES
    # An answer may be lost in a crash, and the delivery made again: with the same UIDs, so the
    # archive keeps one. Apart from what a crash caught in flight each arrives once.
    repeated = sum(count - 1 for count in archive.counts.values())
    assert repeated <= 2 * 2 * 2 * LIVES  # objects, workers and lives, on either side
    for study in range(5):
        first = list(dict.fromkeys(archive.arrivals))
        order = [int(uid.split(".")[2]) for uid in first if uid.endswith(".1")]
        mine = [number for number in order if number % 5 == study]
        assert mine == sorted(mine)


def test_nothing_is_lost_on_sqlite(
    start_gateway: Start, fake_service: FakeService, archive: FakeArchive, tmp_path: Path
) -> None:
    """One gateway, killed several times; its spool is empty in the end."""
    gateway = start_gateway()
    live_through_crashes([gateway], fake_service, archive)
    until(lambda: not list((tmp_path / "spool" / "objects").iterdir()))


def test_nothing_is_lost_on_postgresql_with_two_gateways(
    start_gateway: Start, fake_service: FakeService, archive: FakeArchive, postgresql: str
) -> None:
    """Two share one inbox; what the killed one held is taken over once its lease has run out."""
    shared = {
        "database_url": postgresql,
        "analysis_timeout_s": 2,
        "delivery_timeout_s": 2,
        "lease_s": 3,
    }
    gateways = [start_gateway(**shared), start_gateway(**shared)]
    live_through_crashes(gateways, fake_service, archive)


def test_sigterm_gives_work_back(start_gateway: Start, fake_service: FakeService) -> None:
    """A graceful stop ends with 0, and what was under way is taken up at the next start."""

    def slow(number: int) -> None:
        time.sleep(2 if number < 2 else 0)

    fake_service.script = slow
    gateway = start_gateway(drain_s=0)
    content_type, body = build_related([make_object()])
    headers = {"Content-Type": content_type}
    httpx.post(f"{gateway.url}/dicomweb/studies", content=body, headers=headers)
    until(lambda: fake_service.requests == 1)
    assert gateway.stop() == 0
    gateway.start()
    until(lambda: gateway.jobs(state="done"))


def test_killed_gateway_takes_its_own_work_up_at_once(
    start_gateway: Start, fake_service: FakeService
) -> None:
    """On SQLite nobody else can hold a lease, however long it would still run."""
    fake_service.script = lambda number: time.sleep(5 if number < 2 else 0)
    gateway = start_gateway(lease_s=600)
    content_type, body = build_related([make_object()])
    headers = {"Content-Type": content_type}
    httpx.post(f"{gateway.url}/dicomweb/studies", content=body, headers=headers)
    until(lambda: fake_service.requests == 1)
    gateway.kill()
    gateway.start()
    until(lambda: gateway.jobs(state="done"), 20)


@pytest.fixture
def two_boxes(tmp_path: Path, postgresql: str) -> Iterator[tuple[Box, Box]]:
    """One inbox opened twice, as two gateways do."""
    url = postgresql.replace("postgresql:", "postgresql+pg8000:")
    one, first = open_box(tmp_path, url, owner="one")
    two, second = open_box(tmp_path, url, owner="two")
    yield one, two
    first.close()
    second.close()


def test_two_gateways_never_share_work(two_boxes: tuple[Box, Box]) -> None:
    """Eight threads on two inboxes lease every job and every delivery exactly once."""
    one, two = two_boxes
    ids = {one.receive(make_object(f"1.9.{i}"))[0] for i in range(40)}
    done: list[str] = []
    sent: list[tuple[str, str]] = []

    def work(box: Box) -> None:
        while (job := box.inbox.lease()) is not None:
            done.append(job.id)
            box.inbox.analysed(job, [Result(box.spool.write(b"made"), f"9.{job.seq}", "1.2")])
        while (way := box.outbox.lease()) is not None:
            sent.append((way.job_id, way.destination))
            box.outbox.delivered(way)

    threads = [threading.Thread(target=work, args=(box,)) for box in (one, two) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(job for job in done if job in ids) == sorted(ids)
    assert len(set(sent)) == len(sent)
    while (way := one.outbox.lease()) is not None:
        sent.append((way.job_id, way.destination))
        one.outbox.delivered(way)
    assert {job for job, _ in sent} >= ids
    one.ledger.purge("done", 0, rows=True)
