"""Gateways that are killed with -9, or told to stop, and started again."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.gateway.store.inbox import Result
from service.multipart import build_related
from tests.gateway.conftest import Box, open_box
from tests.gateway.crashes import ORTHANC_ABSENT, Plan, live_through_crashes
from tests.gateway.fakes import FakeService
from tests.gateway.objects import make_object
from tests.gateway.process import GatewayProcess, until

Start = Callable[..., GatewayProcess]

SMALL = {"instances": 24, "kills": 2, "studies": 4}  # make crash has 200, and kills more often


@pytest.mark.skipif(bool(ORTHANC_ABSENT), reason=ORTHANC_ABSENT)
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # pynetdicom's, refused
@pytest.mark.timeout(480)
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_each_instance_gets_one_report_and_one_capture(
    database: str, request: pytest.FixtureRequest, shipped_bundles: Path, tmp_path: Path
) -> None:
    """Gateway (two on PostgreSQL), service and Orthanc are killed; half of the answers are 503."""
    is_shared = database == "postgresql"
    url = request.getfixturevalue("postgresql") if is_shared else ""
    plan = Plan(**SMALL, gateways=2 if is_shared else 1)
    figures = live_through_crashes(shipped_bundles, tmp_path, plan, url)
    gc.collect()  # those sockets, before they are another test's
    assert figures.is_sound, figures
    assert min(figures.gateway_kills, figures.service_kills, figures.orthanc_kills) == 2
    assert figures.busy > 0
    # Only what a crash caught on its way is delivered again: two objects by each of two workers.
    assert figures.repeated <= 4 * (figures.gateway_kills + figures.orthanc_kills)


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
