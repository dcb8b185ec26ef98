"""Files of the spool that no job has: taken up again, unless there is proof that they may go.

A crash leaves some: of an object whose sender was told nothing, or between the deletion of a row's
bytes and of the file. A lost database leaves all, and their senders were told of success.
"""

from __future__ import annotations

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from service.dicom.equipment import MANUFACTURER
from service.gateway.errors import UnreadableObjectError
from service.gateway.header import ObjectHeader, read_header
from service.gateway.own import is_analysed
from service.gateway.signals import Signals
from service.gateway.store.database import Database
from service.gateway.store.inbox import begin_anew, new_job
from service.gateway.store.schema import jobs, results
from service.gateway.store.spool import Spool
from service.telemetry.logs import log_event

CHANNEL = "spool"
AT_A_TIME = 200

Outcome: TypeAlias = Literal["removed", "adopted", "quarantined", "kept"]


class Strays:
    """Finds strays and settles what becomes of each. One thread.

    Args:
        database: Keeps the rows.
        spool: Keeps the bytes.
        signals: Woken when there is work.
        count: Told of each outcome.
    """

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
        """Find and settle strays, and remove what was only half received.

        Args:
            older_than_s: Only those of that age; another gateway may just be receiving.

        Returns:
            How many there were of each outcome.
        """
        outcomes = self.settle(self.find(older_than_s))
        outcomes["removed"] += self._spool.sweep_incoming(older_than_s)
        return outcomes

    def find(self, older_than_s: float) -> list[str]:
        """Give the names of files that no job has, the oldest first."""
        names = self._spool.names(older_than_s)
        with self._database.transaction() as connection:
            kept = set(connection.execute(select(jobs.c.file).where(jobs.c.has_bytes)).scalars())
            made = select(results.c.file).join(jobs, jobs.c.seq == results.c.job_seq)
            kept |= set(connection.execute(made.where(jobs.c.has_bytes)).scalars())
        return [name for name in names if name not in kept]

    def settle(self, names: Iterable[str]) -> Counter[Outcome]:
        """Remove those of which a row says so; take up whole objects; put the others aside."""
        outcomes: Counter[Outcome] = Counter()
        left = list(names)
        while left and not self._signals.is_stopping:
            some, left = left[:AT_A_TIME], left[AT_A_TIME:]
            let_go = self._let_go(some)
            for name in some:
                try:
                    outcome = "removed" if name in let_go else self._judge(name)
                    if outcome == "removed":
                        self._spool.remove(name)
                except FileNotFoundError:  # another gateway settled it
                    continue
                except SQLAlchemyError:
                    raise
                except Exception as error:  # of this file: it stays, for a disk that is mended
                    log_event(logging.ERROR, "stray not read", error, file=name)
                    continue
                outcomes[outcome] += 1
                if outcome != "kept":
                    self._count(outcome)
        if outcomes["adopted"]:
            self._signals.analysis.ring()
        return outcomes

    def _let_go(self, names: list[str]) -> set[str]:
        """Give those that the inbox knew, and whose bytes it deleted."""
        theirs = select(jobs.c.file).where(jobs.c.file.in_(names), ~jobs.c.has_bytes)
        made = select(results.c.file).join(jobs, jobs.c.seq == results.c.job_seq)
        made = made.where(results.c.file.in_(names), ~jobs.c.has_bytes)
        with self._database.transaction() as connection:
            found = set(connection.execute(theirs).scalars())
            return found | set(connection.execute(made).scalars())

    def _judge(self, name: str) -> Outcome:
        try:
            with self._spool.opened(name) as file:
                header = read_header(file)
        except UnreadableObjectError:
            return self._put_aside(name)
        if header.manufacturer == MANUFACTURER:
            return "removed"  # a result: it is made again of its object, with the same UIDs
        if not is_analysed(header):
            return self._put_aside(name)
        return self._take_up(name, header)

    def _put_aside(self, name: str) -> Outcome:
        self._spool.quarantine(name)
        log_event(logging.ERROR, "stray put aside", file=name)
        return "quarantined"

    def _take_up(self, name: str, header: ObjectHeader) -> Outcome:
        """Make a job of an object, or give its file to the job that lacks it."""
        job_id, size_bytes = secrets.token_hex(16), self._spool.size_bytes(name)
        same = (jobs.c.sop_instance_uid == header.sop_instance_uid) & (
            jobs.c.digest == header.digest
        )
        ours = select(results.c.file).where(results.c.sop_instance_uid == header.sop_instance_uid)
        columns = (jobs.c.seq, jobs.c.id, jobs.c.file, jobs.c.state, jobs.c.has_bytes)
        try:
            with self._database.transaction() as connection:
                if connection.execute(ours).first() is not None:
                    return "removed"
                known = connection.execute(select(*columns).where(same).with_for_update()).first()
                if known is None:
                    row = new_job(job_id, name, header, CHANNEL, size_bytes)
                    connection.execute(insert(jobs).values(row))
                elif known.file == name:
                    return "kept"  # its job came in the meantime
                elif not known.has_bytes or self._spool.has(known.file):
                    return "removed"  # the same object again; the inbox has it, or had it
                else:
                    job_id = known.id
                    anew = begin_anew() if known.state == "dead" else {}
                    change = update(jobs).where(jobs.c.seq == known.seq).values(**anew, file=name)
                    connection.execute(change)
        except IntegrityError:  # another gateway took it up, or it was sent again
            return "kept"
        log_event(logging.WARNING, "stray taken up", job=job_id, size_bytes=size_bytes)
        return "adopted"
