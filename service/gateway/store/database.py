"""The database: SQLite for one gateway, PostgreSQL for several."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from service.errors import StartupError

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x63787267  # any number that all gateways use
BUSY_S = 30  # longest wait for another process's transaction on SQLite
POOL_SIZE = 8
POOL_OVERFLOW = 64

DatabaseError = SQLAlchemyError
"""Raised by a statement or connection that fails."""


class Database:
    """Transactions on the inbox. Any thread. A malformed URL raises StartupError."""

    def __init__(self, url: str) -> None:
        self.is_sqlite = url.startswith("sqlite")
        try:
            self._engine = create_engine(
                url,
                pool_size=POOL_SIZE,
                max_overflow=POOL_OVERFLOW,
                pool_pre_ping=not self.is_sqlite,
            )
        except (DatabaseError, ValueError):  # its text quotes the URL with the password
            raise StartupError(
                "CXR_GATEWAY_DATABASE_URL: not of the form postgresql://user:password@host/name. "
                "Percent-encode special characters in user and password (RFC 3986, 2.1)."
            ) from None
        # SQLite has one writer at a time, and its own waiting polls and is unfair.
        self._turn = threading.RLock() if self.is_sqlite else None
        if self.is_sqlite:
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Yield a connection; changes are durable once the block succeeds."""
        if self._turn is None:
            with self._engine.begin() as connection:
                yield connection
        else:
            with self._turn, self._engine.begin() as connection:
                yield connection

    def migrate(self) -> None:
        """Migrate the tables; gateways starting together take turns."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        try:
            with self.transaction() as connection:
                if not self.is_sqlite:
                    lock = text("SELECT pg_advisory_xact_lock(:number)")
                    connection.execute(lock, {"number": MIGRATION_LOCK})
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except DatabaseError as error:
            raise StartupError(
                f"The inbox's database cannot be used ({type(error).__name__}). "
                "Check CXR_GATEWAY_DATABASE_URL and that it can be reached."
            ) from None

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # _begin_sqlite begins transactions, not the driver
    for pragma in (
        f"busy_timeout={BUSY_S * 1000}",
        "journal_mode=WAL",
        "synchronous=FULL",  # commits survive a power failure
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that reads first and then writes would fail beside another writer.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
