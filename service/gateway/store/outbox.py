"""The outbox: one delivery per job and destination."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection, exists, select, update

from service.gateway.store.database import Database
from service.gateway.store.inbox import Result
from service.gateway.store.leases import Leasing, lease_next, postpone, settle
from service.gateway.store.schema import deliveries, jobs, results
from service.gateway.store.states import DEAD, DELIVERED, WAITING


@dataclass(frozen=True)
class Delivery:
    """A job's results for one destination, leased."""

    seq: int
    job_seq: int
    job_id: str
    destination: str
    results: tuple[Result, ...]
    attempts: int
    begun_s: float
    received_s: float
    owner: str


class Outbox:
    """Results to be delivered. Any thread. Lost leases raise :class:`LeaseLostError`.

    A destination gets a study's results in order of reception: a delivery waits for those of
    earlier objects unless they are dead letters.
    """

    def __init__(self, database: Database, leasing: Leasing) -> None:
        self._database = database
        self._leasing = leasing

    def lease(self, full: Collection[str] = ()) -> Delivery | None:
        """Lease the next due delivery, excluding these destinations."""
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
        query = (
            select(deliveries, jobs.c.id, jobs.c.received_s)
            .join(jobs, jobs.c.seq == deliveries.c.job_seq)
            .where((deliveries.c.state == WAITING) & ~is_behind)
            .where(deliveries.c.destination.not_in(full))
            .order_by(deliveries.c.job_seq, deliveries.c.seq)
        )
        with self._database.transaction() as connection:
            leased = lease_next(connection, deliveries, query, self._leasing)
            if leased is None:
                return None
            row, owner = leased
            made = connection.execute(
                select(results).where(results.c.job_seq == row.job_seq).order_by(results.c.position)
            ).all()
        return Delivery(
            seq=row.seq,
            job_seq=row.job_seq,
            job_id=row.id,
            destination=row.destination,
            results=tuple(Result(r.file, r.sop_instance_uid, r.sop_class_uid) for r in made),
            attempts=row.attempts,
            begun_s=row.begun_s,
            received_s=row.received_s,
            owner=owner,
        )

    def delivered(self, delivery: Delivery) -> bool:
        """Record that all objects are confirmed; return whether the job is done."""
        return self._end(delivery, DELIVERED, None)

    def dead_letter(self, delivery: Delivery, reason: str) -> None:
        """Give up; unless others wait, the job becomes a dead letter."""
        self._end(delivery, DEAD, reason)

    def postpone(self, delivery: Delivery, reason: str, delay_s: float) -> None:
        """Retry after the delay."""
        postpone(self._database, deliveries, delivery, reason, delay_s)

    def _end(self, delivery: Delivery, state: str, reason: str | None) -> bool:
        with self._database.transaction() as connection:
            # Two deliveries of one job may end at once: the second must see the first.
            connection.execute(
                select(jobs.c.seq).where(jobs.c.seq == delivery.job_seq).with_for_update()
            )
            settle(connection, deliveries, delivery, state=state, reason=reason)
            return _close_job(connection, delivery.job_seq)


def _close_job(connection: Connection, job_seq: int) -> bool:
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
