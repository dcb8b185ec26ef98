"""What an operator sees of the jobs and may do with them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from service.gateway.errors import JobNotRetryableError, UnknownJobError
from service.gateway.store.database import Database
from service.gateway.store.inbox import begin_anew
from service.gateway.store.leases import free
from service.gateway.store.schema import DEAD, WAITING, deliveries, jobs, results
from service.gateway.store.spool import Spool
from service.gateway.store.states import OPEN_STATES, STATES, State

REFERENCE_DIGITS = 12
PURGED_AT_A_TIME = 200


@dataclass(frozen=True)
class DeliveryEntry:
    """One delivery of a job, as shown."""

    destination: str
    state: str
    reason: str | None
    attempts: int
    next_attempt_s: float
    updated_s: float


@dataclass(frozen=True)
class JobEntry:
    """One job, as shown: without UIDs, which identify a study.

    Attributes:
        seq: Order of arrival.
        id: Its id.
        study: First digits of the SHA-256 of the Study Instance UID: jobs of one study have
            one reference, and who knows the UID can compute it.
        state: State.
        reason: Why it is not further, if so.
        attempts: Tries of the analysis.
        next_attempt_s: When it is tried next; 0 for at once.
        channel: How it came.
        size_bytes: Of the received object.
        received_s: When.
        updated_s: Last change.
        has_bytes: Whether its bytes are still kept.
        deliveries: Empty until it is analysed.
        other_contents: Ids of jobs whose objects have its SOP Instance UID and other content.
    """

    seq: int
    id: str
    study: str
    state: State
    reason: str | None
    attempts: int
    next_attempt_s: float
    channel: str
    size_bytes: int
    received_s: float
    updated_s: float
    has_bytes: bool
    deliveries: tuple[DeliveryEntry, ...] = ()
    other_contents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Backlog:
    """How much is under way.

    Attributes:
        counts: Jobs by state.
        oldest_s: Age of the oldest that is not finished, 0 if there is none.
    """

    counts: dict[str, int]
    oldest_s: float


def study_reference(study_instance_uid: str) -> str:
    """Give what stands for a study in lists."""
    return hashlib.sha256(study_instance_uid.encode()).hexdigest()[:REFERENCE_DIGITS]


class Ledger:
    """Listing, retrying and purging. Any thread, also beside a running gateway.

    Args:
        database: Keeps the rows.
        spool: Keeps the bytes.
    """

    def __init__(self, database: Database, spool: Spool) -> None:
        self._database = database
        self._spool = spool

    def page(self, state: State | None, before_seq: int | None, limit: int) -> list[JobEntry]:
        """Give jobs, the newest first, without their deliveries and other contents.

        Args:
            state: Only these; None for all.
            before_seq: Only those that came before this one; None from the newest on.
            limit: At most so many.
        """
        query = select(jobs).order_by(jobs.c.seq.desc()).limit(limit)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if before_seq is not None:
            query = query.where(jobs.c.seq < before_seq)
        with self._database.transaction() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def get(self, job_id: str) -> JobEntry:
        """Give one job with its deliveries.

        Raises:
            UnknownJobError: There is none of that id.
        """
        with self._database.transaction() as connection:
            row = _row(connection, job_id)
            ways = connection.execute(
                select(deliveries)
                .where(deliveries.c.job_seq == row.seq)
                .order_by(deliveries.c.destination)
            )
            others = connection.execute(
                select(jobs.c.id)
                .where(jobs.c.sop_instance_uid == row.sop_instance_uid, jobs.c.seq != row.seq)
                .order_by(jobs.c.seq)
            ).scalars()
            return _entry(
                row,
                tuple(
                    DeliveryEntry(
                        way.destination,
                        way.state,
                        way.reason,
                        way.attempts,
                        way.next_attempt_s,
                        way.updated_s,
                    )
                    for way in ways
                ),
                tuple(others),
            )

    def uids(self, job_id: str) -> dict[str, str]:
        """Give the UIDs of a job, for an operator at the machine.

        Raises:
            UnknownJobError: There is none of that id.
        """
        with self._database.transaction() as connection:
            row = _row(connection, job_id)
        return {
            name: getattr(row, name)
            for name in ("study_instance_uid", "sop_instance_uid", "sop_class_uid")
        }

    def retry(self, job_id: str) -> JobEntry:
        """Begin a dead letter again: its dead deliveries, or its analysis if it has no results.

        Raises:
            UnknownJobError: There is none of that id.
            JobNotRetryableError: It is not dead, or its bytes are gone.
        """
        now_s = time.time()
        with self._database.transaction() as connection:
            row = _row(connection, job_id, for_update=True)
            if row.state != "dead":
                raise JobNotRetryableError("Only a dead job can be retried.")
            if not row.has_bytes:
                raise JobNotRetryableError("The job's bytes are gone. Send the object again.")
            this = jobs.c.seq == row.seq
            made = select(func.count()).select_from(results).where(results.c.job_seq == row.seq)
            if connection.execute(made).scalar():
                again = {"next_attempt_s": 0.0, "attempts": 0, "reason": None, **free()}
                connection.execute(
                    update(deliveries)
                    .where((deliveries.c.job_seq == row.seq) & (deliveries.c.state == DEAD))
                    .values(state=WAITING, begun_s=now_s, updated_s=now_s, **again)
                )
                values: dict[str, Any] = {"state": "delivering", "reason": None, "updated_s": now_s}
            else:
                values = begin_anew()
            connection.execute(update(jobs).where(this).values(**values))
        return self.get(job_id)

    def backlog(self) -> Backlog:
        """Count the jobs."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                select(jobs.c.state, func.count().label("n")).group_by(jobs.c.state)
            ).all()
            oldest = connection.execute(
                select(func.min(jobs.c.received_s)).where(jobs.c.state.in_(OPEN_STATES))
            ).scalar()
        found = {row.state: row.n for row in rows}
        return Backlog(
            {state: found.get(state, 0) for state in STATES},
            max(0.0, time.time() - oldest) if oldest is not None else 0.0,
        )

    def purge(self, state: State, older_than_s: float, *, rows: bool = False) -> int:
        """Delete the bytes of finished jobs, and with ``rows`` the jobs themselves.

        Args:
            state: ``done`` or ``dead``.
            older_than_s: Only those that did not change for so long.
            rows: Whether they are no longer listed, and repeats of them taken for new.

        Returns:
            How many jobs.

        Raises:
            ValueError: The state is not a finished one.
        """
        if state in OPEN_STATES:
            raise ValueError("only finished jobs are purged")
        finished = (jobs.c.state == state) & (jobs.c.updated_s <= time.time() - older_than_s)
        let_go = self._repeat(self._let_go, finished & jobs.c.has_bytes)
        return self._repeat(self._forget, finished & ~jobs.c.has_bytes) if rows else let_go

    def forget_bytes(self, job_seq: int) -> None:
        """Delete the bytes of one job that is done."""
        self._let_go((jobs.c.seq == job_seq) & (jobs.c.state == "done"))

    def _repeat(
        self, purge: Callable[[ColumnElement[bool]], int], which: ColumnElement[bool]
    ) -> int:
        purged = 0
        while some := purge(which):
            purged += some
        return purged

    def _let_go(self, which: ColumnElement[bool]) -> int:
        """Delete the bytes of some jobs and give how many these are.

        Files after rows: of what a crash leaves behind here, the rows tell that it may go.
        """
        with self._database.transaction() as connection:
            seqs, names = _some(connection, which)
            connection.execute(update(jobs).where(jobs.c.seq.in_(seqs)).values(has_bytes=False))
        for name in names:
            self._spool.remove(name)
        return len(seqs)

    def _forget(self, which: ColumnElement[bool]) -> int:
        """Delete some jobs whose bytes are deleted: rows after files, of which only they tell."""
        with self._database.transaction() as connection:
            seqs, names = _some(connection, which)
            for name in names:
                self._spool.remove(name)
            connection.execute(delete(results).where(results.c.job_seq.in_(seqs)))
            connection.execute(delete(deliveries).where(deliveries.c.job_seq.in_(seqs)))
            connection.execute(delete(jobs).where(jobs.c.seq.in_(seqs)))
        return len(seqs)


def _some(connection: Connection, which: ColumnElement[bool]) -> tuple[list[int], list[str]]:
    """Give some jobs, locked, with the names of their files and of those of their results."""
    found = connection.execute(
        select(jobs.c.seq, jobs.c.file)
        .where(which)
        .limit(PURGED_AT_A_TIME)
        .with_for_update(skip_locked=True)
    ).all()
    seqs = [row.seq for row in found]
    made = connection.execute(select(results.c.file).where(results.c.job_seq.in_(seqs)))
    return seqs, [row.file for row in found] + [row.file for row in made]


def _row(connection: Connection, job_id: str, *, for_update: bool = False) -> Row[Any]:
    query = select(jobs).where(jobs.c.id == job_id)
    row = connection.execute(query.with_for_update() if for_update else query).first()
    if row is None:
        raise UnknownJobError("There is no job of that id.")
    return row


def _entry(
    row: Row[Any], ways: tuple[DeliveryEntry, ...] = (), others: tuple[str, ...] = ()
) -> JobEntry:
    return JobEntry(
        seq=row.seq,
        id=row.id,
        study=study_reference(row.study_instance_uid),
        state=row.state,
        reason=row.reason,
        attempts=row.attempts,
        next_attempt_s=row.next_attempt_s,
        channel=row.channel,
        size_bytes=row.size_bytes,
        received_s=row.received_s,
        updated_s=row.updated_s,
        has_bytes=row.has_bytes,
        deliveries=ways,
        other_contents=others,
    )
