"""Fixtures: an inbox, a fake service and archive, a gateway as a process, PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.gateway.header import read_header
from service.gateway.signals import Signals
from service.gateway.store.database import Database
from service.gateway.store.inbox import Inbox, Result
from service.gateway.store.leases import Leasing
from service.gateway.store.ledger import Ledger
from service.gateway.store.orphans import OrphanedFiles
from service.gateway.store.outbox import Outbox
from service.gateway.store.spool import Spool
from tests.gateway.fakes import FakeArchive, FakeService
from tests.gateway.postgresql import postgresql_absent, running_postgresql
from tests.gateway.process import GatewayProcess, gateway_environment


@dataclass
class Box:
    """An inbox with all that belongs to it, without workers."""

    spool: Spool
    inbox: Inbox
    outbox: Outbox
    ledger: Ledger
    orphans: OrphanedFiles

    def receive(self, data: bytes) -> tuple[str, bool]:
        """Receive one object."""
        with self.spool.stage() as staged:
            staged.write(data)
            with staged.reading() as file:
                header = read_header(file)
            job_id, is_new = self.inbox.receive(staged, header, "stow")
            assert job_id is not None
            return job_id, is_new

    def analyse_next(self) -> str:
        """Analyse the next object into one result, and give its job's id."""
        job = self.inbox.lease()
        assert job is not None
        self.inbox.analysed(job, [Result(self.spool.write(b"made"), f"9.{job.seq}", "1.2")])
        return job.id


def open_box(
    folder: Path, url: str | None = None, *, owner: str = "me", lease_s: float = 60
) -> tuple[Box, Database]:
    """Open an inbox in a folder."""
    spool = Spool(folder / "spool", 0)
    database = Database(url or f"sqlite:///{folder / 'inbox.sqlite3'}")
    database.migrate()
    leasing = Leasing(owner, lease_s)
    inbox = Inbox(database, spool, leasing, ("pacs", "archive"))
    orphans = OrphanedFiles(database, spool, Signals())
    outbox, ledger = Outbox(database, leasing), Ledger(database, spool)
    return Box(spool, inbox, outbox, ledger, orphans), database


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """An inbox on SQLite with two destinations."""
    opened, database = open_box(tmp_path)
    yield opened
    database.close()


@pytest.fixture
def fake_service() -> Iterator[FakeService]:
    """A service that makes an SR and an SC of everything."""
    fake = FakeService()
    yield fake
    fake.stop()


@pytest.fixture
def archive() -> Iterator[FakeArchive]:
    """An archive that takes everything."""
    fake = FakeArchive()
    yield fake
    fake.stop()


@pytest.fixture
def start_gateway(
    tmp_path: Path, fake_service: FakeService, archive: FakeArchive
) -> Iterator[Callable[..., GatewayProcess]]:
    """Start gateways between the fakes; all end with the test."""
    running: list[GatewayProcess] = []

    def start(**settings: Any) -> GatewayProcess:
        chosen = {
            "service_url": fake_service.url,
            "destinations": f"pacs={archive.url}",
            **settings,
        }
        environment = gateway_environment(tmp_path / "spool", **chosen)
        gateway = GatewayProcess(environment, tmp_path / f"log{len(running)}")
        gateway.start()
        running.append(gateway)
        return gateway

    yield start
    for gateway in running:
        gateway.kill()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL of our own on loopback."""
    if reason := postgresql_absent():
        pytest.skip(reason)
    with running_postgresql() as url:
        yield url
