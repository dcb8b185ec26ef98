"""The inbox: nothing lost, nothing doubled, the order of each study kept."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.gateway.errors import (
    InsufficientStorageError,
    JobNotRetryableError,
    LeaseLostError,
    UnknownJobError,
)
from service.gateway.store.inbox import Job, Result
from service.gateway.store.leases import release_all
from service.gateway.store.outbox import Delivery
from service.gateway.store.schema import metadata
from service.gateway.store.spool import Spool
from tests.gateway.conftest import Box, open_box
from tests.gateway.objects import make_object


def test_repeat_is_the_same_job(box: Box) -> None:
    """A sender that heard nothing sends again; other content under the UID is another job."""
    data = make_object(instance="1.5")
    job_id, is_new = box.receive(data)
    assert is_new
    assert box.receive(data) == (job_id, False)
    assert box.receive(make_object(instance="1.5", PatientID="other"))[0] != job_id
    assert len(box.spool.names(0)) == 2


def test_dead_job_that_is_sent_again_begins_anew(box: Box) -> None:
    """Whoever sends it again wants it read."""
    data = make_object()
    job_id, _ = box.receive(data)
    job = box.inbox.lease()
    assert job is not None
    box.inbox.dead_letter(job, "no")
    box.ledger.purge("dead", 0)
    assert box.spool.names(0) == []
    assert box.receive(data) == (job_id, True)
    again = box.inbox.lease()
    assert again is not None
    assert box.spool.read(again.file) == data


def test_leased_work_is_not_given_twice(box: Box) -> None:
    """Two workers never analyse one object at a time."""
    box.receive(make_object())
    assert box.inbox.lease() is not None
    assert box.inbox.lease() is None


def test_lease_that_ran_out_is_taken_over_and_lost(tmp_path: Path) -> None:
    """After a crash another goes on; the first, if it lives, changes nothing any more."""
    box, database = open_box(tmp_path, lease_s=0.05)
    box.receive(make_object())
    first = box.inbox.lease()
    time.sleep(0.1)
    second = box.inbox.lease()
    assert first is not None
    assert second is not None
    assert second.id == first.id
    with pytest.raises(LeaseLostError):
        box.inbox.dead_letter(first, "no")
    box.inbox.postpone(second, "later", 60)
    assert box.ledger.get(first.id).reason == "later"
    database.close()


def test_bytes_are_gone_when_the_job_is_done(box: Box) -> None:
    """Only what was delivered everywhere is deleted, with its results."""
    box.receive(make_object())
    box.analyse_next()
    first, second = box.outbox.lease(), box.outbox.lease()
    assert first is not None
    assert second is not None
    assert not box.outbox.delivered(first)
    box.ledger.forget_bytes(first.job_seq)
    assert len(box.spool.names(0)) == 2
    assert box.outbox.delivered(second)
    box.ledger.forget_bytes(first.job_seq)
    assert box.spool.names(0) == []


def test_study_keeps_its_order_at_each_destination(box: Box) -> None:
    """A later object waits for an earlier one of its study, not for other studies."""
    slow, _ = box.receive(make_object("1.1"))
    box.receive(make_object("1.1"))
    other, _ = box.receive(make_object("1.2"))
    held = box.inbox.lease()
    assert held is not None
    box.analyse_next()
    box.analyse_next()
    ready = [box.outbox.lease(), box.outbox.lease(), box.outbox.lease()]
    assert [one and one.job_id for one in ready] == [other, other, None]
    box.inbox.dead_letter(held, "no")  # a dead letter lets those behind it pass
    assert box.outbox.lease() is not None
    assert held.id == slow


def test_delivery_that_waits_holds_up_only_its_destination(box: Box) -> None:
    """An archive that is away does not keep results from another."""
    first, _ = box.receive(make_object("1.1"))
    second, _ = box.receive(make_object("1.1"))
    box.analyse_next()
    box.analyse_next()
    one, two = box.outbox.lease(), box.outbox.lease()
    assert one is not None
    assert two is not None
    box.outbox.postpone(one, "away", 60)
    box.outbox.delivered(two)
    three = box.outbox.lease()
    assert three is not None
    assert (three.job_id, three.destination) == (second, two.destination)
    assert box.outbox.lease() is None
    assert one.job_id == first


def test_retry_repeats_only_what_failed(box: Box) -> None:
    """A dead delivery is made again, without another analysis and another delivery."""
    job_id, _ = box.receive(make_object())
    with pytest.raises(JobNotRetryableError):
        box.ledger.retry(job_id)
    box.analyse_next()
    good, bad = box.outbox.lease(), box.outbox.lease()
    assert good is not None
    assert bad is not None
    box.outbox.delivered(good)
    box.outbox.dead_letter(bad, "archive-away")
    assert (box.ledger.get(job_id).state, box.ledger.get(job_id).reason) == ("dead", "archive-away")
    assert box.ledger.retry(job_id).state == "delivering"
    again = box.outbox.lease()
    assert again is not None
    assert again.destination == bad.destination
    assert box.outbox.delivered(again)
    assert box.inbox.lease() is None


def test_purged_job_cannot_be_retried(box: Box) -> None:
    """What it would need is gone; unknown ids are told apart."""
    job_id, _ = box.receive(make_object())
    job = box.inbox.lease()
    assert job is not None
    box.inbox.dead_letter(job, "no")
    assert box.ledger.purge("dead", 3600) == 0
    assert box.ledger.purge("dead", 0) == 1
    with pytest.raises(JobNotRetryableError):
        box.ledger.retry(job_id)
    assert box.ledger.purge("dead", 0, rows=True) == 1
    with pytest.raises(UnknownJobError):
        box.ledger.get(job_id)
    with pytest.raises(ValueError, match="finished"):
        box.ledger.purge("received", 0)


def test_full_disk_is_refused_before_it_is_full(tmp_path: Path) -> None:
    """The watermark leaves room for results and the database."""
    free = Spool(tmp_path, 0).free_bytes
    Spool(tmp_path, 0).verify_room(1)
    with pytest.raises(InsufficientStorageError):
        Spool(tmp_path, free * 2).verify_room()
    with pytest.raises(InsufficientStorageError):
        Spool(tmp_path, 0).verify_room(free * 2)


def test_spool_is_its_owners_alone(tmp_path: Path) -> None:
    """Nobody else on the machine reads patients' objects."""
    spool = Spool(tmp_path / "spool", 0)
    assert spool.folder.stat().st_mode & 0o077 == 0


def test_migrations_make_the_schema(tmp_path: Path) -> None:
    """Tables in code and in migrations are the same; migrating twice changes nothing."""
    _, database = open_box(tmp_path)
    database.migrate()
    with database.transaction() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    database.close()


class InboxMachine(RuleBasedStateMachine):
    """Senders, workers and crashes in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.box, self.database = open_box(Path(self._folder.name))
        self.order: dict[str, tuple[str, int]] = {}  # job id: study, place
        self.jobs: list[Job] = []
        self.ways: list[Delivery] = []
        self.arrived: list[tuple[str, str]] = []
        self.dead: set[str] = set()
        self.ever_dead: set[str] = set()

    def teardown(self) -> None:
        """Close what a run opened."""
        self.database.close()
        self._folder.cleanup()

    @rule(study=st.sampled_from(["1.1", "1.2"]), number=st.integers(1, 6))
    def send(self, study: str, number: int) -> None:
        """An object comes, perhaps again."""
        job_id, is_new = self.box.receive(make_object(study, instance=f"{study}.{number}"))
        assert is_new == (job_id not in self.order or job_id in self.dead)
        self.dead.discard(job_id)
        self.order.setdefault(job_id, (study, len(self.order)))

    @rule()
    def lease(self) -> None:
        """A worker takes what is due."""
        if (job := self.box.inbox.lease()) is not None:
            assert job.id not in {one.id for one in self.jobs}
            self.jobs.append(job)

    @precondition(lambda self: self.jobs)
    @rule(outcome=st.sampled_from(["analysed", "postponed", "dead letter"]))
    def end_analysis(self, outcome: str) -> None:
        """The worker that waits longest ends."""
        job = self.jobs.pop(0)
        if outcome == "analysed":
            name = self.box.spool.write(b"made")
            self.box.inbox.analysed(job, [Result(name, f"9.{job.seq}", "1.2")])
        elif outcome == "postponed":
            self.box.inbox.postpone(job, "later", 0.0)
        else:
            self.box.inbox.dead_letter(job, "no")
            self.dead.add(job.id)
            self.ever_dead.add(job.id)

    @rule()
    def lease_delivery(self) -> None:
        """A worker takes a delivery that is due."""
        if (way := self.box.outbox.lease()) is not None:
            assert (way.job_id, way.destination) not in self.arrived
            self.ways.append(way)

    @precondition(lambda self: self.ways)
    @rule(is_good=st.booleans())
    def end_delivery(self, is_good: bool) -> None:
        """The delivery that waits longest ends."""
        way = self.ways.pop(0)
        if is_good:
            if self.box.outbox.delivered(way):
                self.box.ledger.forget_bytes(way.job_seq)
            self.arrived.append((way.job_id, way.destination))
        else:
            self.box.outbox.postpone(way, "away", 0.0)

    @rule()
    def crash(self) -> None:
        """All workers are gone; a new life begins."""
        self.jobs.clear()
        self.ways.clear()
        self.database.close()
        self.box, self.database = open_box(Path(self._folder.name))
        release_all(self.database, None)
        self.box.orphans.sweep(0)

    @invariant()
    def nothing_is_lost(self) -> None:
        """Every object has a job, and every open job its bytes."""
        backlog = self.box.ledger.backlog().counts
        assert sum(backlog.values()) == len(self.order)
        assert backlog["dead"] == len(self.dead)
        both = {job for job, _ in self.arrived if self.arrived.count((job, "pacs"))}
        done = {job for job in both if (job, "archive") in self.arrived}
        assert backlog["done"] == len(done)
        unfinished = backlog["received"] + backlog["analysing"] + backlog["delivering"]
        # One file each, and one result for what is analysed.
        expected = unfinished + backlog["delivering"] + backlog["dead"]
        assert len(self.box.spool.names(0)) == expected

    @invariant()
    def nothing_is_doubled_and_studies_keep_their_order(self) -> None:
        """Each result arrives once, behind those before it."""
        assert len(set(self.arrived)) == len(self.arrived)
        for destination in ("pacs", "archive"):
            for study in ("1.1", "1.2"):
                places = [
                    self.order[job][1]
                    for job, to in self.arrived
                    if to == destination
                    and self.order[job][0] == study
                    and job not in self.ever_dead
                ]
                # One that was dead and sent again comes when it comes.
                assert places == sorted(places)


TestInboxMachine = InboxMachine.TestCase
TestInboxMachine.settings = hypothesis_settings(
    max_examples=25, stateful_step_count=40, deadline=None, derandomize=True
)
