"""Orphaned files: spool files without a job.

A crash leaves some, a lost database all, although their senders were told of success. So only
files that a row proves deletable are deleted, and whole objects become jobs again.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

from sqlalchemy import ColumnElement, Connection, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from service.dicom.equipment import MANUFACTURER
from service.gateway.errors import UnreadableObjectError
from service.gateway.header import ObjectHeader, is_analysed, read_header
from service.gateway.signals import Signals
from service.gateway.store.database import Database
from service.gateway.store.inbox import is_same, new_attempts, new_job
from service.gateway.store.schema import jobs, results
from service.gateway.store.spool import Spool
from service.telemetry.logs import log_event

CHANNEL = "spool"
AT_A_TIME = 200

Outcome: TypeAlias = Literal["removed", "adopted", "quarantined", "kept"]


class OrphanedFiles:
    """Finds and settles orphaned files. One thread."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        signals: Signals,
        count: Callable[[Outcome], object] = lambda outcome: None,
    ) -> None:
        self._database = database
        self._spool = spool
        self._signals = signals
        self._count = count

    def sweep(self, older_than_s: float) -> Counter[Outcome]:
        """Settle orphaned files, and delete half received ones."""
        outcomes = self.settle(self.find(older_than_s))
        outcomes["removed"] += self._spool.sweep_incoming(older_than_s)
        return outcomes

    def find(self, older_than_s: float) -> list[str]:
        """Return orphaned files' names, oldest first."""
        names = self._spool.names(older_than_s)
        with self._database.transaction() as connection:
            kept = _files(connection, jobs.c.has_bytes)
        return [name for name in names if name not in kept]

    def settle(self, names: Iterable[str]) -> Counter[Outcome]:
        """Delete, adopt or quarantine each file."""
        outcomes: Counter[Outcome] = Counter()
        left = list(names)
        while left and not self._signals.is_stopping:
            some, left = left[:AT_A_TIME], left[AT_A_TIME:]
            with self._database.transaction() as connection:
                deleted = _files(connection, ~jobs.c.has_bytes, some)
            for name in some:
                try:
                    outcome = "removed" if name in deleted else self._judge(name)
                    if outcome == "removed":
                        self._spool.remove(name)
                except FileNotFoundError:  # another gateway settled it
                    continue
                except SQLAlchemyError:
                    raise
                except Exception as error:  # the file stays, for a disk that is repaired
                    log_event(logging.ERROR, "stray not read", error, file=name)
                    continue
                outcomes[outcome] += 1
                if outcome != "kept":
                    self._count(outcome)
        if outcomes["adopted"]:
            self._signals.analysis.ring()
        return outcomes

    def _judge(self, name: str) -> Outcome:
        try:
            with self._spool.opened(name) as file:
                header = read_header(file)
        except UnreadableObjectError:
            return self._quarantine(name)
        if header.manufacturer == MANUFACTURER:
            return "removed"  # a result: it is made again of its object, with the same UIDs
        return self._adopt(name, header) if is_analysed(header) else self._quarantine(name)

    def _quarantine(self, name: str) -> Outcome:
        self._spool.quarantine(name)
        log_event(logging.ERROR, "stray put aside", file=name)
        return "quarantined"

    def _adopt(self, name: str, header: ObjectHeader) -> Outcome:
        job_id, size_bytes = secrets.token_hex(16), self._spool.size_bytes(name)
        result = select(results.c.file).where(results.c.sop_instance_uid == header.sop_instance_uid)
        columns = (jobs.c.seq, jobs.c.id, jobs.c.file, jobs.c.state, jobs.c.has_bytes)
        same = select(*columns).where(is_same(header)).with_for_update()
        try:
            with self._database.transaction() as connection:
                if connection.execute(result).first() is not None:
                    return "removed"
                known = connection.execute(same).first()
                if known is None:
                    row = new_job(job_id, name, header, CHANNEL, size_bytes)
                    connection.execute(insert(jobs).values(row))
                elif known.file == name:
                    return "kept"  # its job came in the meantime
                elif not known.has_bytes or self._spool.has(known.file):
                    return "removed"  # a copy of an object that the inbox has, or had
                else:
                    job_id = known.id
                    anew = new_attempts() if known.state == "dead" else {}
                    change = update(jobs).where(jobs.c.seq == known.seq).values(**anew, file=name)
                    connection.execute(change)
        except IntegrityError:  # another gateway adopted it, or it was sent again
            return "kept"
        log_event(logging.WARNING, "stray taken up", job=job_id, size_bytes=size_bytes)
        return "adopted"


def _files(
    connection: Connection, of_jobs: ColumnElement[bool], names: list[str] | None = None
) -> set[str]:
    received = select(jobs.c.file).where(of_jobs)
    made = select(results.c.file).join(jobs, jobs.c.seq == results.c.job_seq).where(of_jobs)
    if names is not None:
        received = received.where(jobs.c.file.in_(names))
        made = made.where(results.c.file.in_(names))
    return {*connection.execute(received).scalars(), *connection.execute(made).scalars()}
