"""Work handed to one worker at a time, and taken from it when it died."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, Table, update
from sqlalchemy.sql.elements import ColumnElement

from service.gateway.errors import LeaseLostError
from service.gateway.store.database import Database
from service.gateway.store.schema import commitment_reports, deliveries, jobs

FARTHEST_S = 86_400.0  # neither a lease nor a wait between tries can be set longer


@dataclass(frozen=True)
class Leasing:
    """How one gateway takes work.

    Attributes:
        owner: Names this process, and no other.
        lease_s: Time after which others may take it over.
    """

    owner: str
    lease_s: float


def is_free(table: Table, now_s: float) -> ColumnElement[bool]:
    """Tell rows that are due and that nobody works on.

    So are those whose moment is so far ahead that only a clock that has gone back since can have
    written it. At worst somebody still has the work; then only one of both can settle it.
    """
    far_s = now_s + FARTHEST_S
    due = (table.c.next_attempt_s <= now_s) | (table.c.next_attempt_s > far_s)
    return due & ((table.c.lease_until_s <= now_s) | (table.c.lease_until_s > far_s))


class Leased(Protocol):
    """Work that somebody has."""

    @property
    def seq(self) -> int:
        """Its row."""

    @property
    def owner(self) -> str:
        """The token of its lease."""

    @property
    def attempts(self) -> int:
        """How often it was settled before."""


def take(
    connection: Connection, table: Table, seq: int, leasing: Leasing, now_s: float, **values: Any
) -> str:
    """Lease a row that is free, and give the lease's token.

    Each lease has one: what the process itself took again later is not this.
    """
    owner = f"{leasing.owner}.{secrets.token_hex(4)}"
    until_s = now_s + leasing.lease_s
    change = update(table).where(table.c.seq == seq)
    connection.execute(change.values(**values, lease_owner=owner, lease_until_s=until_s))
    return owner


def settle(connection: Connection, table: Table, work: Leased, **values: Any) -> None:
    """Write what became of leased work, count the attempt, and give the lease back.

    Raises:
        LeaseLostError: Another has it now; nothing was written.
    """
    held = (table.c.seq == work.seq) & (table.c.lease_owner == work.owner)
    known = {**values, **free(), "attempts": work.attempts + 1, "updated_s": time.time()}
    if connection.execute(update(table).where(held).values(**known)).rowcount != 1:
        raise LeaseLostError("The work took longer than its lease.")


def put_off(
    connection: Connection, table: Table, work: Leased, reason: str, delay_s: float, **values: Any
) -> None:
    """Give leased work back, to be tried again later.

    Raises:
        LeaseLostError: Another has it now; nothing was written.
    """
    again_s = time.time() + delay_s
    settle(connection, table, work, reason=reason, next_attempt_s=again_s, **values)


def free() -> dict[str, Any]:
    """Give the columns of work nobody has."""
    return {"lease_owner": None, "lease_until_s": 0.0}


def release_all(database: Database, owner: str | None) -> None:
    """Release the leases of one process, or all of them if ``owner`` is None.

    All may be released only where no other process is alive.
    """
    for table in (jobs, deliveries, commitment_reports):
        leased: ColumnElement[bool] = table.c.lease_owner.is_not(None)
        if owner is not None:
            leased = table.c.lease_owner.startswith(f"{owner}.", autoescape=True)
        with database.transaction() as connection:
            connection.execute(update(table).where(leased).values(**free()))
