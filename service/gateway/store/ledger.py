"""The ledger: the operator's view of jobs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from service.gateway.errors import JobNotRetryableError, UnknownJobError
from service.gateway.store.database import Database
from service.gateway.store.inbox import new_attempts
from service.gateway.store.leases import waiting_since
from service.gateway.store.schema import deliveries, jobs, results
from service.gateway.store.spool import Spool
from service.gateway.store.states import DEAD, OPEN_STATES, STATES, WAITING, State

REFERENCE_DIGITS = 12
PURGED_AT_A_TIME = 200


@dataclass(frozen=True)
class DeliveryEntry:
    """A job's delivery, as shown."""

    destination: str
    state: str
    reason: str | None
    attempts: int
    next_attempt_s: float
    updated_s: float


@dataclass(frozen=True)
class JobEntry:
    """A job as shown, without UIDs. Times are seconds since 1970."""

    seq: int  # order of arrival
    id: str
    study: str  # of the Study Instance UID: who knows it can compute this
    state: State
    reason: str | None
    attempts: int
    next_attempt_s: float  # 0 for at once
    channel: str
    size_bytes: int
    received_s: float
    updated_s: float
    has_bytes: bool
    deliveries: tuple[DeliveryEntry, ...] = ()
    other_contents: tuple[str, ...] = ()  # ids of jobs with the same UID and other content


@dataclass(frozen=True)
class Backlog:
    """Jobs by state, and the oldest unfinished one's age."""

    counts: dict[str, int]
    oldest_s: float


JOB_COLUMNS = [one.name for one in fields(JobEntry) if one.name in jobs.c]


def study_reference(study_instance_uid: str) -> str:
    """Return a study's identification in lists."""
    return hashlib.sha256(study_instance_uid.encode()).hexdigest()[:REFERENCE_DIGITS]


class Ledger:
    """Lists, retries and purges jobs. Any thread. Unknown ids raise :class:`UnknownJobError`."""

    def __init__(self, database: Database, spool: Spool) -> None:
        self._database = database
        self._spool = spool

    def page(self, state: State | None, before_seq: int | None, limit: int) -> list[JobEntry]:
        """Return jobs, newest first, without deliveries."""
        query = select(jobs).order_by(jobs.c.seq.desc()).limit(limit)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if before_seq is not None:
            query = query.where(jobs.c.seq < before_seq)
        with self._database.transaction() as connection:
            return [_entry(row) for row in connection.execute(query)]

    def get(self, job_id: str) -> JobEntry:
        """Return a job with its deliveries."""
        with self._database.transaction() as connection:
            row = _row(connection, job_id)
            shown = (deliveries.c[field.name] for field in fields(DeliveryEntry))
            ways = connection.execute(
                select(*shown)
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
                tuple(DeliveryEntry(*way) for way in ways),
                tuple(others),
            )

    def uids(self, job_id: str) -> dict[str, str]:
        """Return a job's UIDs."""
        with self._database.transaction() as connection:
            row = _row(connection, job_id)
        return {
            name: getattr(row, name)
            for name in ("study_instance_uid", "sop_instance_uid", "sop_class_uid")
        }

    def retry(self, job_id: str) -> JobEntry:
        """Retry a dead letter: its dead deliveries, or without results its analysis.

        Raises:
            JobNotRetryableError: It is not dead, or its bytes are gone.
        """
        now_s = time.time()
        with self._database.transaction() as connection:
            row = _row(connection, job_id, for_update=True)
            if row.state != "dead":
                raise JobNotRetryableError("Only a dead job can be retried.")
            if not row.has_bytes:
                raise JobNotRetryableError("The job's bytes are gone. Send the object again.")
            made = select(func.count()).select_from(results).where(results.c.job_seq == row.seq)
            if connection.execute(made).scalar():
                dead = (deliveries.c.job_seq == row.seq) & (deliveries.c.state == DEAD)
                again = {"state": WAITING, **waiting_since(now_s)}
                connection.execute(update(deliveries).where(dead).values(**again))
                values: dict[str, Any] = {"state": "delivering", "reason": None, "updated_s": now_s}
            else:
                values = new_attempts()
            connection.execute(update(jobs).where(jobs.c.seq == row.seq).values(**values))
        return self.get(job_id)

    def backlog(self) -> Backlog:
        """Count jobs by state."""
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
        """Delete finished jobs' bytes, with ``rows`` the jobs too; return their number."""
        if state in OPEN_STATES:
            raise ValueError("only finished jobs are purged")
        finished = (jobs.c.state == state) & (jobs.c.updated_s <= time.time() - older_than_s)
        purged = _repeat(self._delete_bytes, finished & jobs.c.has_bytes)
        return _repeat(self._delete_rows, finished & ~jobs.c.has_bytes) if rows else purged

    def forget_bytes(self, job_seq: int) -> None:
        """Delete a finished job's bytes."""
        self._delete_bytes((jobs.c.seq == job_seq) & (jobs.c.state == "done"))

    def _delete_bytes(self, which: ColumnElement[bool]) -> int:
        # Files after rows: the rows prove that files which a crash leaves may be deleted.
        with self._database.transaction() as connection:
            seqs, names = _some(connection, which)
            connection.execute(update(jobs).where(jobs.c.seq.in_(seqs)).values(has_bytes=False))
        for name in names:
            self._spool.remove(name)
        return len(seqs)

    def _delete_rows(self, which: ColumnElement[bool]) -> int:
        # Rows after files: only the rows know the names of files that a crash left.
        with self._database.transaction() as connection:
            seqs, names = _some(connection, which)
            for name in names:
                self._spool.remove(name)
            connection.execute(delete(results).where(results.c.job_seq.in_(seqs)))
            connection.execute(delete(deliveries).where(deliveries.c.job_seq.in_(seqs)))
            connection.execute(delete(jobs).where(jobs.c.seq.in_(seqs)))
        return len(seqs)


def _repeat(purge: Callable[[ColumnElement[bool]], int], which: ColumnElement[bool]) -> int:
    purged = 0
    while some := purge(which):
        purged += some
    return purged


def _some(connection: Connection, which: ColumnElement[bool]) -> tuple[list[int], list[str]]:
    # Locks the jobs; the names are those of objects and results.
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
        raise UnknownJobError("No job has that id.")
    return row


def _entry(
    row: Row[Any], ways: tuple[DeliveryEntry, ...] = (), others: tuple[str, ...] = ()
) -> JobEntry:
    shown = {name: getattr(row, name) for name in JOB_COLUMNS}
    study = study_reference(row.study_instance_uid)
    return JobEntry(**shown, study=study, deliveries=ways, other_contents=others)
