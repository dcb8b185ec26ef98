"""Storage commitment reports, from request to arrival."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from service.gateway.store.database import Database
from service.gateway.store.leases import Leasing, lease_next, postpone, waiting_since
from service.gateway.store.schema import commitment_reports


@dataclass(frozen=True)
class CommittedInstance:
    """An instance, and whether its bytes were kept at the request."""

    sop_class_uid: str
    sop_instance_uid: str
    is_kept: bool


@dataclass(frozen=True)
class CommitmentReport:
    """A leased report."""

    seq: int
    transaction_uid: str
    ae_title: str
    address: str
    instances: tuple[CommittedInstance, ...]
    attempts: int
    begun_s: float
    owner: str

    @property
    def are_all_kept(self) -> bool:
        """Whether every instance is committed."""
        return all(one.is_kept for one in self.instances)


class CommitmentReports:
    """Reports to be sent. Any thread."""

    def __init__(self, database: Database, leasing: Leasing) -> None:
        self._database = database
        self._leasing = leasing

    def add(
        self,
        transaction_uid: str,
        ae_title: str,
        address: str,
        instances: Sequence[CommittedInstance],
        delay_s: float,
    ) -> int:
        """Store a report durably; return its row."""
        now_s = time.time()
        row = {
            **waiting_since(now_s),
            "transaction_uid": transaction_uid,
            "ae_title": ae_title,
            "address": address,
            "verdicts": json.dumps(
                [[one.sop_class_uid, one.sop_instance_uid, one.is_kept] for one in instances]
            ),
            "next_attempt_s": now_s + delay_s,
        }
        with self._database.transaction() as connection:
            result = connection.execute(insert(commitment_reports).values(row))
            assert result.inserted_primary_key is not None
            return int(result.inserted_primary_key[0])

    def lease(self, full: Collection[str] = ()) -> CommitmentReport | None:
        """Lease the next due report, excluding these AE titles."""
        query = (
            select(commitment_reports)
            .where(commitment_reports.c.ae_title.not_in(full))
            .order_by(commitment_reports.c.next_attempt_s)
        )
        with self._database.transaction() as connection:
            leased = lease_next(connection, commitment_reports, query, self._leasing)
        if leased is None:
            return None
        row, owner = leased
        return CommitmentReport(
            seq=row.seq,
            transaction_uid=row.transaction_uid,
            ae_title=row.ae_title,
            address=row.address,
            instances=tuple(CommittedInstance(*one) for one in json.loads(row.verdicts)),
            attempts=row.attempts,
            begun_s=row.begun_s,
            owner=owner,
        )

    def postpone(self, report: CommitmentReport, reason: str, delay_s: float) -> None:
        """Send again after the delay."""
        postpone(self._database, commitment_reports, report, reason, delay_s)

    def forget(self, report: CommitmentReport) -> None:
        """Delete a delivered or abandoned report."""
        this = commitment_reports.c.seq == report.seq
        with self._database.transaction() as connection:
            connection.execute(delete(commitment_reports).where(this))
