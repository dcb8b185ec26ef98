"""Leases: one worker has a piece of work until done or dead."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, Row, Select, Table, update
from sqlalchemy.sql.elements import ColumnElement

from service.gateway.errors import LeaseLostError
from service.gateway.store.database import Database
from service.gateway.store.schema import commitment_reports, deliveries, jobs

FARTHEST_S = 86_400.0  # neither a lease nor a wait between attempts can be set longer


@dataclass(frozen=True)
class Leasing:
    """A process's unique name and lease duration."""

    owner: str
    lease_s: float


class Leased(Protocol):
    """A leased row."""

    @property
    def seq(self) -> int:
        """Primary key."""

    @property
    def owner(self) -> str:
        """Token of the lease."""

    @property
    def attempts(self) -> int:
        """Earlier attempts."""


def lease_next(
    connection: Connection, table: Table, query: Select[Any], leasing: Leasing, **values: Any
) -> tuple[Row[Any], str] | None:
    """Lease a query's first due row; return it and the lease's token."""
    now_s = time.time()
    due = query.where(_is_free(table, now_s)).limit(1)
    row = connection.execute(due.with_for_update(skip_locked=True, of=table)).first()
    if row is None:
        return None
    owner = f"{leasing.owner}.{secrets.token_hex(4)}"
    lease = {"lease_owner": owner, "lease_until_s": now_s + leasing.lease_s}
    connection.execute(update(table).where(table.c.seq == row.seq).values(**values, **lease))
    return row, owner


def _is_free(table: Table, now_s: float) -> ColumnElement[bool]:
    # A moment too far ahead was written before the clock was set back. At worst somebody still has
    # that work, and then only one of both can settle it.
    far_s = now_s + FARTHEST_S
    due = (table.c.next_attempt_s <= now_s) | (table.c.next_attempt_s > far_s)
    return due & ((table.c.lease_until_s <= now_s) | (table.c.lease_until_s > far_s))


def settle(connection: Connection, table: Table, work: Leased, **values: Any) -> None:
    """Write the outcome, count the attempt, and end the lease.

    Raises:
        LeaseLostError: Another worker has it; nothing was written.
    """
    leased = (table.c.seq == work.seq) & (table.c.lease_owner == work.owner)
    known = {**values, **free(), "attempts": work.attempts + 1, "updated_s": time.time()}
    if connection.execute(update(table).where(leased).values(**known)).rowcount != 1:
        raise LeaseLostError("The work took longer than its lease.")


def postpone(
    database: Database, table: Table, work: Leased, reason: str, delay_s: float, **values: Any
) -> None:
    """End the lease and retry after the delay."""
    again_s = time.time() + delay_s
    with database.transaction() as connection:
        settle(connection, table, work, reason=reason, next_attempt_s=again_s, **values)


def free() -> dict[str, Any]:
    """Return an unleased row's columns."""
    return {"lease_owner": None, "lease_until_s": 0.0}


def waiting_since(now_s: float) -> dict[str, Any]:
    """Return the columns of immediately due, unattempted work."""
    return {
        "reason": None,
        "attempts": 0,
        "next_attempt_s": 0.0,
        "begun_s": now_s,
        "updated_s": now_s,
        **free(),
    }


def release_all(database: Database, owner: str | None) -> None:
    """Release one process's leases; all if ``owner`` is None and no other is alive."""
    for table in (jobs, deliveries, commitment_reports):
        leased: ColumnElement[bool] = table.c.lease_owner.is_not(None)
        if owner is not None:
            leased = table.c.lease_owner.startswith(f"{owner}.", autoescape=True)
        with database.transaction() as connection:
            connection.execute(update(table).where(leased).values(**free()))
