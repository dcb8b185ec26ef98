"""The inbox: jobs from reception to results."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Row, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.sql.elements import ColumnElement

from service.gateway.errors import UnreadableObjectError
from service.gateway.header import ObjectHeader, read_header
from service.gateway.store.database import Database
from service.gateway.store.leases import Leasing, lease_next, postpone, settle, waiting_since
from service.gateway.store.schema import deliveries, jobs, results
from service.gateway.store.spool import Spool, Staged
from service.gateway.store.states import WAITING

Known: TypeAlias = "Row[int, str, str, str, bool]"
"""Columns of a job: seq, id, file, state, has_bytes."""


@dataclass(frozen=True)
class Job:
    """A received object, leased for analysis."""

    seq: int
    id: str
    file: str
    attempts: int
    begun_s: float
    owner: str


@dataclass(frozen=True)
class Result:
    """A generated object, durable in the spool."""

    file: str
    sop_instance_uid: str
    sop_class_uid: str


@dataclass(frozen=True)
class ReceivedContent:
    """A content received under a UID; its file may be gone."""

    job_id: str
    file: str
    digest: str


class Inbox:
    """Objects to analyse. Any thread. Lost leases raise :class:`LeaseLostError`."""

    def __init__(
        self, database: Database, spool: Spool, leasing: Leasing, destinations: Sequence[str]
    ) -> None:
        self._database = database
        self._spool = spool
        self._leasing = leasing
        self._destinations = tuple(destinations)

    def receive(
        self, staged: Staged, header: ObjectHeader, channel: str
    ) -> tuple[str | None, bool]:
        """Store an object durably; a repeat is the same job, and restarts a dead one.

        Returns:
            The job's id, None for our own results; and whether there is new work.
        """
        is_result, known = self._find(header)
        if is_result:
            return None, False
        if known is not None and known.state != "dead":
            if known.has_bytes and not self._spool.has(known.file):
                self._replace(known, staged)
            return known.id, False
        if known is not None:
            return known.id, self._revive(known, staged)
        job_id, file = secrets.token_hex(16), self._spool.keep(staged)
        row = new_job(job_id, file, header, channel, staged.size_bytes)
        try:
            with self._database.transaction() as connection:
                connection.execute(insert(jobs).values(row))
        except IntegrityError:  # the same object came on another connection in the meantime
            self._spool.remove(file)
            _, known = self._find(header)
            if known is None:
                raise
            return known.id, False
        return job_id, True

    def _find(self, header: ObjectHeader) -> tuple[bool, Known | None]:
        columns = (jobs.c.seq, jobs.c.id, jobs.c.file, jobs.c.state, jobs.c.has_bytes)
        result = exists().where(results.c.sop_instance_uid == header.sop_instance_uid)
        with self._database.transaction() as connection:
            known = connection.execute(select(*columns).where(is_same(header))).first()
            return bool(connection.execute(select(result)).scalar()), known

    def _replace(self, known: Known, staged: Staged) -> None:
        # The disk has lost the bytes.
        file = self._spool.keep(staged)
        this = (jobs.c.seq == known.seq) & (jobs.c.file == known.file)
        with self._database.transaction() as connection:
            connection.execute(update(jobs).where(this).values(file=file))

    def _revive(self, known: Known, staged: Staged) -> bool:
        file = self._spool.keep(staged)
        with self._database.transaction() as connection:
            still_dead = (jobs.c.seq == known.seq) & (jobs.c.state == "dead")
            change = update(jobs).where(still_dead).values(**new_attempts(), file=file)
            if connection.execute(change).rowcount != 1:
                return False  # another sender was first; the file is orphaned, and swept
            connection.execute(delete(results).where(results.c.job_seq == known.seq))
            connection.execute(delete(deliveries).where(deliveries.c.job_seq == known.seq))
        self._spool.remove(known.file)
        return True

    def contents(self, sop_instance_uid: str) -> list[ReceivedContent]:
        """Return all contents of a UID."""
        named = jobs.c.sop_instance_uid == sop_instance_uid
        query = select(jobs.c.id, jobs.c.file, jobs.c.digest).where(named).order_by(jobs.c.seq)
        with self._database.transaction() as connection:
            return [ReceivedContent(*row) for row in connection.execute(query)]

    def keeps(self, sop_instance_uid: str, sop_class_uid: str) -> bool:
        """Whether a UID's contents are stored whole. Reads the bytes."""
        same = (jobs.c.sop_instance_uid == sop_instance_uid) & (
            jobs.c.sop_class_uid == sop_class_uid
        )
        query = select(jobs.c.file, jobs.c.digest, jobs.c.size_bytes, jobs.c.has_bytes).where(same)
        with self._database.transaction() as connection:
            rows = connection.execute(query).all()
        return bool(rows) and all(
            row.has_bytes and self._is_whole(row.file, row.size_bytes, row.digest) for row in rows
        )

    def _is_whole(self, name: str, size_bytes: int, digest: str) -> bool:
        try:
            if self._spool.size_bytes(name) != size_bytes:
                return False
            with self._spool.opened(name) as file:
                return read_header(file).digest == digest
        except (OSError, UnreadableObjectError):
            return False

    def lease(self) -> Job | None:
        """Lease the oldest due job."""
        columns = (jobs.c.seq, jobs.c.id, jobs.c.file, jobs.c.attempts, jobs.c.begun_s)
        query = select(*columns).where(jobs.c.state.in_(("received", "analysing")))
        changes = {"state": "analysing", "updated_s": time.time()}
        with self._database.transaction() as connection:
            leased = lease_next(
                connection, jobs, query.order_by(jobs.c.seq), self._leasing, **changes
            )
        if leased is None:
            return None
        row, owner = leased
        return Job(row.seq, row.id, row.file, row.attempts, row.begun_s, owner)

    def analysed(self, job: Job, made: Sequence[Result], reason: str | None = None) -> None:
        """Store the results, and begin delivery in this order everywhere."""
        rows = [
            {
                "file": one.file,
                "job_seq": job.seq,
                "position": position,
                "sop_instance_uid": one.sop_instance_uid,
                "sop_class_uid": one.sop_class_uid,
            }
            for position, one in enumerate(made)
        ]
        columns = {"job_seq": job.seq, "state": WAITING, **waiting_since(time.time())}
        begun = [{"destination": name, **columns} for name in self._destinations]
        with self._database.transaction() as connection:
            settle(connection, jobs, job, state="delivering", reason=reason, next_attempt_s=0.0)
            connection.execute(insert(results), rows)
            connection.execute(insert(deliveries), begun)

    def postpone(self, job: Job, reason: str, delay_s: float) -> None:
        """Analyse again after the delay."""
        postpone(self._database, jobs, job, reason, delay_s, state="received")

    def dead_letter(self, job: Job, reason: str) -> None:
        """Make the job a dead letter."""
        with self._database.transaction() as connection:
            settle(connection, jobs, job, state="dead", reason=reason)


def is_same(header: ObjectHeader) -> ColumnElement[bool]:
    """Match the job of the same UID and content."""
    return (jobs.c.sop_instance_uid == header.sop_instance_uid) & (jobs.c.digest == header.digest)


def new_attempts() -> dict[str, Any]:
    """Return a restarted job's columns."""
    return {"state": "received", "has_bytes": True, **waiting_since(time.time())}


def new_job(
    job_id: str, file: str, header: ObjectHeader, channel: str, size_bytes: int
) -> dict[str, Any]:
    """Return a new job's columns."""
    return {
        "id": job_id,
        "file": file,
        "sop_instance_uid": header.sop_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "study_instance_uid": header.study_instance_uid,
        "digest": header.digest,
        "channel": channel,
        "size_bytes": size_bytes,
        "received_s": time.time(),
        **new_attempts(),
    }
