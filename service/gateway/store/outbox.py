"""Results from their making to their arrival, one delivery for each job and destination."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, exists, select, update

from service.gateway.store.database import Database
from service.gateway.store.inbox import Result
from service.gateway.store.leases import Leasing, is_free, put_off, settle, take
from service.gateway.store.schema import DEAD, DELIVERED, WAITING, deliveries, jobs, results


@dataclass(frozen=True)
class Delivery:
    """The results of one job on their way to one destination.

    Attributes:
        seq: Its row.
        job_seq: The job's row.
        job_id: The job's id.
        study_instance_uid: The study they belong to.
        destination: Name of the archive.
        results: In the order they are sent.
        attempts: Tries so far, without this one.
        begun_s: Since when it is tried.
        received_s: When the object was received.
        owner: Who holds it.
    """

    seq: int
    job_seq: int
    job_id: str
    study_instance_uid: str
    destination: str
    results: tuple[Result, ...]
    attempts: int
    begun_s: float
    received_s: float
    owner: str


class Outbox:
    """What was made and has to be delivered. Any thread.

    A destination gets the results of one study in the order in which its objects came: while
    one is not analysed or not delivered, those after it wait. A dead letter lets them pass.

    Args:
        database: Keeps the rows.
        leasing: How this process takes work.
    """

    def __init__(self, database: Database, leasing: Leasing) -> None:
        self._database = database
        self._leasing = leasing

    def lease(self, but_to: Collection[str] = ()) -> Delivery | None:
        """Take the next delivery, or None if none is due.

        Args:
            but_to: Names of destinations whose deliveries are left.
        """
        now_s = time.time()
        earlier, its = jobs.alias("earlier"), deliveries.alias("its")
        waits_too = (
            exists()
            .where(
                (its.c.job_seq == earlier.c.seq)
                & (its.c.destination == deliveries.c.destination)
                & (its.c.state == WAITING)
            )
            .correlate(earlier, deliveries)
        )
        is_behind = (
            exists()
            .where(
                (earlier.c.study_instance_uid == jobs.c.study_instance_uid)
                & (earlier.c.seq < jobs.c.seq)
                & (earlier.c.state.in_(("received", "analysing")) | waits_too)
            )
            .correlate(jobs, deliveries)
        )
        due = (
            select(deliveries, jobs.c.id, jobs.c.study_instance_uid, jobs.c.received_s)
            .join(jobs, jobs.c.seq == deliveries.c.job_seq)
            .where((deliveries.c.state == WAITING) & is_free(deliveries, now_s) & ~is_behind)
            .where(deliveries.c.destination.not_in(but_to))
            .order_by(deliveries.c.job_seq, deliveries.c.seq)
            .limit(1)
            .with_for_update(skip_locked=True, of=deliveries)
        )
        with self._database.transaction() as connection:
            row = connection.execute(due).first()
            if row is None:
                return None
            owner = take(connection, deliveries, row.seq, self._leasing, now_s)
            made = connection.execute(
                select(results).where(results.c.job_seq == row.job_seq).order_by(results.c.position)
            ).all()
        return Delivery(
            seq=row.seq,
            job_seq=row.job_seq,
            job_id=row.id,
            study_instance_uid=row.study_instance_uid,
            destination=row.destination,
            results=tuple(Result(r.file, r.sop_instance_uid, r.sop_class_uid) for r in made),
            attempts=row.attempts,
            begun_s=row.begun_s,
            received_s=row.received_s,
            owner=owner,
        )

    def delivered(self, delivery: Delivery) -> bool:
        """Note that the archive has confirmed every object.

        Returns:
            Whether the job is done by it.

        Raises:
            LeaseLostError: Another delivers it now.
        """
        return self._end(delivery, DELIVERED, None)

    def dead_letter(self, delivery: Delivery, reason: str) -> bool:
        """Give a delivery up; its job is a dead letter once no other is waiting.

        Raises:
            LeaseLostError: Another delivers it now.
        """
        return self._end(delivery, DEAD, reason)

    def postpone(self, delivery: Delivery, reason: str, delay_s: float) -> None:
        """Try a delivery again later.

        Raises:
            LeaseLostError: Another delivers it now.
        """
        with self._database.transaction() as connection:
            put_off(connection, deliveries, delivery, reason, delay_s)

    def _end(self, delivery: Delivery, state: str, reason: str | None) -> bool:
        with self._database.transaction() as connection:
            # Two deliveries of one job may end at once: the second must see the first.
            connection.execute(
                select(jobs.c.seq).where(jobs.c.seq == delivery.job_seq).with_for_update()
            )
            settle(
                connection,
                deliveries,
                delivery,
                state=state,
                reason=reason,
            )
            return _close_job(connection, delivery.job_seq)


def _close_job(connection: Connection, job_seq: int) -> bool:
    """End a job none of whose deliveries is waiting any more; give whether it is done."""
    rows = connection.execute(
        select(deliveries.c.state, deliveries.c.reason).where(deliveries.c.job_seq == job_seq)
    ).all()
    if any(row.state == WAITING for row in rows):
        return False
    dead = [row for row in rows if row.state == DEAD]
    values = {"state": "dead", "reason": dead[0].reason} if dead else {"state": "done"}
    connection.execute(
        update(jobs).where(jobs.c.seq == job_seq).values(**values, updated_s=time.time())
    )
    return not dead
