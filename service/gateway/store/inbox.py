"""Jobs from their arrival to their results."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Row, delete, exists, insert, select, update
from sqlalchemy.exc import IntegrityError

from service.gateway.errors import UnreadableObjectError
from service.gateway.header import ObjectHeader, read_header
from service.gateway.store.database import Database
from service.gateway.store.leases import Leasing, free, is_free, put_off, settle, take
from service.gateway.store.schema import WAITING, deliveries, jobs, results
from service.gateway.store.spool import Spool, Staged

Known: TypeAlias = "Row[int, str, str, str, bool]"
"""Of a job: seq, id, file, state, and whether it has bytes."""


@dataclass(frozen=True)
class Job:
    """One received object that is to be analysed.

    Attributes:
        seq: Order of arrival.
        id: Its id.
        file: Name of its bytes in the spool.
        attempts: Tries so far, without this one.
        begun_s: Since when it is tried.
        owner: Who holds it.
    """

    seq: int
    id: str
    file: str
    attempts: int
    begun_s: float
    owner: str


@dataclass(frozen=True)
class Result:
    """One made object, durable in the spool.

    Attributes:
        file: Its name there.
        sop_instance_uid: SOP Instance UID.
        sop_class_uid: SOP Class UID.
    """

    file: str
    sop_instance_uid: str
    sop_class_uid: str


@dataclass(frozen=True)
class Namesake:
    """One of the objects that have come under one SOP Instance UID.

    Attributes:
        job_id: Its job.
        file: Name of its bytes in the spool, where they may lie no more.
        digest: Of its content.
    """

    job_id: str
    file: str
    digest: str


class Inbox:
    """What was received and has to be analysed. Any thread.

    Args:
        database: Keeps the rows.
        spool: Keeps the bytes.
        leasing: How this process takes work.
        destinations: Names of the archives results go to.
    """

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
        """Keep an object for good. When this returns, the sender may be told of success.

        The same object, sent again, is the same job; a dead one starts anew.

        Args:
            staged: Its bytes.
            header: What it says of itself.
            channel: ``dimse``, ``stow`` or ``wado``.

        Returns:
            The job's id, None for a result of ours that came back; and whether there is work
            that was not there before.

        Raises:
            OSError: The disk does not take it.
            SQLAlchemyError: The database does not take it.
        """
        is_ours, known = self._find(header)
        if is_ours:
            return None, False
        if known is not None and known.state != "dead":
            if known.has_bytes and not self._spool.has(known.file):
                self._replace(known, staged)
            return known.id, False
        if known is not None:
            return known.id, self._revive(known, staged)
        job_id, file = secrets.token_hex(16), self._spool.keep(staged)
        try:
            with self._database.transaction() as connection:
                connection.execute(
                    insert(jobs).values(new_job(job_id, file, header, channel, staged.size_bytes))
                )
        except IntegrityError:
            # The same object came on another association in the meantime.
            self._spool.remove(file)
            _, known = self._find(header)
            if known is None:
                raise
            return known.id, False
        return job_id, True

    def _replace(self, known: Known, staged: Staged) -> None:
        """Give a job its bytes again, which the disk has lost."""
        file = self._spool.keep(staged)
        this = (jobs.c.seq == known.seq) & (jobs.c.file == known.file)
        with self._database.transaction() as connection:
            connection.execute(update(jobs).where(this).values(file=file))

    def _find(self, header: ObjectHeader) -> tuple[bool, Known | None]:
        """Tell whether an object is a result of ours, and give the job of one that is known."""
        same = (jobs.c.sop_instance_uid == header.sop_instance_uid) & (
            jobs.c.digest == header.digest
        )
        made = exists().where(results.c.sop_instance_uid == header.sop_instance_uid)
        with self._database.transaction() as connection:
            row = connection.execute(
                select(jobs.c.seq, jobs.c.id, jobs.c.file, jobs.c.state, jobs.c.has_bytes).where(
                    same
                )
            ).first()
            return bool(connection.execute(select(made)).scalar()), row

    def _revive(self, known: Known, staged: Staged) -> bool:
        file = self._spool.keep(staged)
        with self._database.transaction() as connection:
            still_dead = (jobs.c.seq == known.seq) & (jobs.c.state == "dead")
            change = update(jobs).where(still_dead).values(**begin_anew(), file=file)
            if connection.execute(change).rowcount != 1:
                return False  # somebody else was first; the file is a stray, and swept
            connection.execute(delete(results).where(results.c.job_seq == known.seq))
            connection.execute(delete(deliveries).where(deliveries.c.job_seq == known.seq))
        self._spool.remove(known.file)
        return True

    def namesakes(self, header: ObjectHeader) -> list[Namesake]:
        """Give all jobs of an object's SOP Instance UID: more than one if contents differ."""
        named = jobs.c.sop_instance_uid == header.sop_instance_uid
        query = select(jobs.c.id, jobs.c.file, jobs.c.digest).where(named).order_by(jobs.c.seq)
        with self._database.transaction() as connection:
            return [Namesake(*row) for row in connection.execute(query)]

    def keeps(self, sop_instance_uid: str, sop_class_uid: str) -> bool:
        """Whether an object is kept, whole and as it came, for storage commitment.

        Reads its bytes. Of several contents under the UID all have to be kept: the one that is
        asked for is one of them.
        """
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
        """Take the next object to analyse, or None if none is due."""
        now_s = time.time()
        open_ = jobs.c.state.in_(("received", "analysing"))
        due = (
            select(jobs.c.seq, jobs.c.id, jobs.c.file, jobs.c.attempts, jobs.c.begun_s)
            .where(open_ & is_free(jobs, now_s))
            .order_by(jobs.c.seq)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self._database.transaction() as connection:
            row = connection.execute(due).first()
            if row is None:
                return None
            owner = take(
                connection, jobs, row.seq, self._leasing, now_s, state="analysing", updated_s=now_s
            )
        return Job(row.seq, row.id, row.file, row.attempts, row.begun_s, owner)

    def analysed(self, job: Job, made: Sequence[Result], reason: str | None = None) -> None:
        """Take the results, which are durable already, and hand them to delivery.

        Args:
            job: Leased.
            made: Its results, in the order they are to be delivered.
            reason: Why it was not analysed, if they only say that.

        Raises:
            LeaseLostError: Another analyses it now.
        """
        now_s = time.time()
        with self._database.transaction() as connection:
            settle(
                connection,
                jobs,
                job,
                state="delivering",
                reason=reason,
                next_attempt_s=0.0,
            )
            connection.execute(
                insert(results),
                [
                    {
                        "file": one.file,
                        "job_seq": job.seq,
                        "position": position,
                        "sop_instance_uid": one.sop_instance_uid,
                        "sop_class_uid": one.sop_class_uid,
                    }
                    for position, one in enumerate(made)
                ],
            )
            connection.execute(
                insert(deliveries),
                [
                    {
                        "job_seq": job.seq,
                        "destination": name,
                        "state": WAITING,
                        "attempts": 0,
                        "next_attempt_s": 0.0,
                        "lease_until_s": 0.0,
                        "begun_s": now_s,
                        "updated_s": now_s,
                    }
                    for name in self._destinations
                ],
            )

    def postpone(self, job: Job, reason: str, delay_s: float) -> None:
        """Try an object again later.

        Raises:
            LeaseLostError: Another analyses it now.
        """
        with self._database.transaction() as connection:
            put_off(connection, jobs, job, reason, delay_s, state="received")

    def dead_letter(self, job: Job, reason: str) -> None:
        """Give an object up; it is a dead letter until somebody retries it.

        Raises:
            LeaseLostError: Another analyses it now.
        """
        with self._database.transaction() as connection:
            settle(
                connection,
                jobs,
                job,
                state="dead",
                reason=reason,
            )


def begin_anew() -> dict[str, Any]:
    """Give the columns of a job that begins again."""
    now_s = time.time()
    return {
        "state": "received",
        "reason": None,
        "attempts": 0,
        "next_attempt_s": 0.0,
        "begun_s": now_s,
        "updated_s": now_s,
        "has_bytes": True,
        **free(),
    }


def new_job(
    job_id: str, file: str, header: ObjectHeader, channel: str, size_bytes: int
) -> dict[str, Any]:
    """Give the columns of a job that is not there yet."""
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
        **begin_anew(),
    }
