"""Reports of storage commitment from the request to their arrival."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from service.gateway.store.database import Database
from service.gateway.store.leases import Leasing, free, is_free, put_off, take
from service.gateway.store.schema import commitment_reports


@dataclass(frozen=True)
class Verdict:
    """Whether one instance is committed to.

    Attributes:
        sop_class_uid: As asked for.
        sop_instance_uid: As asked for.
        is_kept: Whether its bytes were kept at the time of the request.
    """

    sop_class_uid: str
    sop_instance_uid: str
    is_kept: bool


@dataclass(frozen=True)
class CommitmentReport:
    """What a peer shall hear.

    Attributes:
        seq: Its row.
        transaction_uid: The request's.
        ae_title: The peer's.
        address: The peer's; its port is configured.
        verdicts: Of each instance, in the order of the request.
        attempts: Tries so far, without this one.
        begun_s: When it was asked for.
        owner: Who holds it.
    """

    seq: int
    transaction_uid: str
    ae_title: str
    address: str
    verdicts: tuple[Verdict, ...]
    attempts: int
    begun_s: float
    owner: str


class CommitmentReports:
    """What has to be reported. Any thread.

    Args:
        database: Keeps the rows.
        leasing: How this process takes work.
    """

    def __init__(self, database: Database, leasing: Leasing) -> None:
        self._database = database
        self._leasing = leasing

    def add(
        self,
        transaction_uid: str,
        ae_title: str,
        address: str,
        verdicts: Sequence[Verdict],
        delay_s: float,
    ) -> int:
        """Keep a report for good and give its row; it is due after the delay.

        Raises:
            SQLAlchemyError: The database does not take it.
        """
        now_s = time.time()
        row = {
            "transaction_uid": transaction_uid,
            "ae_title": ae_title,
            "address": address,
            "verdicts": json.dumps(
                [[one.sop_class_uid, one.sop_instance_uid, one.is_kept] for one in verdicts]
            ),
            "reason": None,
            "attempts": 0,
            "next_attempt_s": now_s + delay_s,
            "begun_s": now_s,
            "updated_s": now_s,
            **free(),
        }
        with self._database.transaction() as connection:
            result = connection.execute(insert(commitment_reports).values(row))
            assert result.inserted_primary_key is not None
            return int(result.inserted_primary_key[0])

    def lease(self, but_to: Collection[str] = ()) -> CommitmentReport | None:
        """Take the next report, or None if none is due.

        Args:
            but_to: AE titles of peers whose reports are left.
        """
        now_s = time.time()
        due = (
            select(commitment_reports)
            .where(is_free(commitment_reports, now_s))
            .where(commitment_reports.c.ae_title.not_in(but_to))
            .order_by(commitment_reports.c.next_attempt_s)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        with self._database.transaction() as connection:
            row = connection.execute(due).first()
            if row is None:
                return None
            owner = take(connection, commitment_reports, row.seq, self._leasing, now_s)
        return CommitmentReport(
            seq=row.seq,
            transaction_uid=row.transaction_uid,
            ae_title=row.ae_title,
            address=row.address,
            verdicts=tuple(Verdict(*one) for one in json.loads(row.verdicts)),
            attempts=row.attempts,
            begun_s=row.begun_s,
            owner=owner,
        )

    def postpone(self, report: CommitmentReport, reason: str, delay_s: float) -> None:
        """Try a report again later.

        Raises:
            LeaseLostError: Another sends it now.
        """
        with self._database.transaction() as connection:
            put_off(connection, commitment_reports, report, reason, delay_s)

    def forget(self, report: CommitmentReport) -> None:
        """Delete a report that arrived, or is given up."""
        this = commitment_reports.c.seq == report.seq
        with self._database.transaction() as connection:
            connection.execute(delete(commitment_reports).where(this))
