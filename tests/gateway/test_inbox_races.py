"""What happens at the same moment: leases, ends of deliveries, repeats, and files that vanish.

Each race is forced: both sides wait for each other at the place where a guard has to hold.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest
from sqlalchemy import delete, func, select

from service.gateway.store import leases, outbox
from service.gateway.store.database import Database
from service.gateway.store.schema import deliveries, jobs, results
from tests.gateway.conftest import Box, open_box
from tests.gateway.objects import make_object

MEET_S = 1.0  # how long one side waits for the other, which a guard may keep from coming

R = TypeVar("R")


@pytest.fixture
def shared(postgresql: str, tmp_path: Path) -> Iterator[Box]:
    """An empty inbox on PostgreSQL; other tests use the same database, and find it empty."""
    url = postgresql.replace("postgresql://", "postgresql+pg8000://")
    box, database = open_box(tmp_path, url)
    delete_rows(database)
    yield box
    delete_rows(database)
    database.close()


def delete_rows(database: Database) -> None:
    """Empty the inbox."""
    with database.transaction() as connection:
        for table in (deliveries, results, jobs):
            connection.execute(delete(table))


def meeting(work: Callable[..., R]) -> Callable[..., R]:
    """Do a piece of work, and then wait for another thread that does it."""
    barrier = threading.Barrier(2)

    def meet(*args: Any, **named: Any) -> R:
        done = work(*args, **named)
        with suppress(threading.BrokenBarrierError):
            barrier.wait(MEET_S)
        return done

    return meet


def test_two_workers_never_lease_one_job(shared: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have chosen before one of them has written; the locked row is skipped."""
    for _ in range(2):
        shared.receive(make_object())
    token_hex = meeting(secrets.token_hex)
    monkeypatch.setattr(leases, "secrets", SimpleNamespace(token_hex=token_hex))
    with ThreadPoolExecutor(2) as pool:
        leased = [pool.submit(shared.inbox.lease) for _ in range(2)]
    assert len({job and job.id for job in (one.result() for one in leased)} - {None}) == 2


def test_deliveries_that_end_together_end_their_job(
    shared: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock on the job's row lets the second see the first; exactly one finds the job done."""
    job_id, _ = shared.receive(make_object())
    shared.analyse_next()
    ways = [shared.outbox.lease(), shared.outbox.lease()]
    monkeypatch.setattr(outbox, "settle", meeting(leases.settle))
    with ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(shared.outbox.delivered, way) for way in ways if way is not None]
    assert sorted(end.result() for end in ends) == [False, True]
    assert shared.ledger.get(job_id).state == "done"


def test_a_repeat_that_is_received_at_the_same_time_is_the_same_job(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither sender's object was known when it was looked up: the database keeps the first."""
    data = make_object()
    job_id, _ = box.receive(data)
    look_up = box.inbox._find
    answers: list[Any] = [(False, None)]
    monkeypatch.setattr(
        box.inbox, "_find", lambda header: answers.pop() if answers else look_up(header)
    )
    assert box.receive(data) == (job_id, False)
    assert len(box.spool.names(0)) == 1
    with box.orphans._database.transaction() as connection:
        assert connection.execute(select(func.count()).select_from(jobs)).scalar() == 1


def test_a_file_that_vanishes_during_the_sweep_is_left_to_others(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    """Another gateway settled it: no outcome, no line in the log, and the rest is settled."""
    gone, stays = (box.spool.write(make_object()) for _ in range(2))
    (box.spool.folder / "objects" / "link").symlink_to(box.spool.folder / "objects" / gone)
    found = box.orphans.find(0)
    box.spool.remove(gone)
    assert "link" not in box.spool.names(0)  # it vanished between the listing and its date
    assert box.orphans.settle(found) == {"adopted": 1}
    assert box.spool.names(0) == [stays]
    assert "stray not read" not in caplog.text


def test_a_postponed_delivery_waits_for_its_time(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until a minute has passed it is not leased, and then it is."""
    now = SimpleNamespace(s=1_000_000.0)
    monkeypatch.setattr(leases, "time", SimpleNamespace(time=lambda: now.s))
    box.receive(make_object())
    box.analyse_next()
    way = box.outbox.lease({"archive"})
    assert way is not None
    box.outbox.postpone(way, "away", 60)
    now.s += 59
    assert box.outbox.lease({"archive"}) is None
    now.s += 2
    again = box.outbox.lease({"archive"})
    assert again is not None
    assert (again.seq, again.attempts) == (way.seq, 1)
