"""Work handed to one worker at a time, and taken from it when it died."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, update
from sqlalchemy.sql.elements import ColumnElement

from service.gateway.errors import LeaseLostError


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
    """Tell rows that are due and that nobody works on."""
    return (table.c.next_attempt_s <= now_s) & (table.c.lease_until_s <= now_s)


def settle(connection: Connection, table: Table, seq: int, owner: str, **values: Any) -> None:
    """Write what became of leased work, and give the lease back.

    Raises:
        LeaseLostError: Another has it now; nothing was written.
    """
    held = (table.c.seq == seq) & (table.c.lease_owner == owner)
    now_s = time.time()
    change = update(table).where(held).values(**values, **free(), updated_s=now_s)
    if connection.execute(change).rowcount != 1:
        raise LeaseLostError("The work took longer than its lease.")


def free() -> dict[str, Any]:
    """Give the columns of work nobody has."""
    return {"lease_owner": None, "lease_until_s": 0.0}
