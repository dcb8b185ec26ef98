"""Storage commitment: what a peer asked for it hears, whatever happens in between."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from alembic import command
from alembic.config import Config
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    ComputedRadiographyImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from service.gateway.deliver.commitment import CommitmentTask
from service.gateway.destinations import Peer
from service.gateway.dimse.association import IdleAssociations, close_rejected
from service.gateway.signals import Signals
from service.gateway.store.commitment_reports import (
    CommitmentReport,
    CommitmentReports,
    CommittedInstance,
)
from service.gateway.store.database import MIGRATIONS, Database
from service.gateway.store.leases import Leasing, release_all
from service.gateway.work.loop import Worker, endless_retry
from service.multipart import build_related
from service.telemetry.logs import LOG
from tests.gateway.objects import make_object
from tests.gateway.process import GatewayProcess, free_port, until

Start = Callable[..., GatewayProcess]

INSTANCES = [CommittedInstance("1.2", "1.5", True), CommittedInstance("1.2", "1.6", False)]


class ReportTaker:
    """A peer that takes reports, on its own port or on associations it holds."""

    def __init__(self) -> None:
        self.reports: list[tuple[int, Dataset]] = []
        self.handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, self._on_report)]
        self.statuses: list[int] = []
        self._asked: list[Association] = []

    def _on_report(self, event: evt.Event) -> tuple[int, None]:
        self.reports.append((event.event_type, event.event_information))
        return self.statuses.pop(0) if self.statuses else 0, None

    @contextmanager
    def listening(self, port: int) -> Iterator[None]:
        """Listen for associations."""
        entity = AE("CR1")
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        entity.start_server(("127.0.0.1", port), block=False, evt_handlers=self.handlers)
        try:
            yield
        finally:
            entity.shutdown()

    def ask(
        self, gateway: GatewayProcess, *instances: str, calling: str = "CR1"
    ) -> tuple[str, Association]:
        """Ask for commitment; give the transaction's UID and the association, still open."""
        request = Dataset()
        request.TransactionUID = generate_uid()
        request.ReferencedSOPSequence = []
        for instance in instances:
            item = Dataset()
            item.ReferencedSOPClassUID = ComputedRadiographyImageStorage
            item.ReferencedSOPInstanceUID = instance
            request.ReferencedSOPSequence.append(item)
        entity = AE(calling)
        entity.add_requested_context(StorageCommitmentPushModel)
        entity.add_requested_context(Verification)
        association = entity.associate(
            "127.0.0.1", gateway.dimse_port, ae_title="CXRGATEWAY", evt_handlers=self.handlers
        )
        self._asked.append(association)
        status, _ = association.send_n_action(
            request, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
        assert status.Status == 0
        return str(request.TransactionUID), association

    def hang_up(self) -> None:
        """Release what is still open, and close the sockets of what was cut off."""
        for association in self._asked:
            if association.is_established:
                association.release()
            close_rejected(association)

    def transactions(self) -> list[str]:
        """Give the transactions that were reported, each as often as it was."""
        return [str(report.TransactionUID) for _, report in self.reports]


@pytest.fixture
def taker() -> Iterator[ReportTaker]:
    """A peer that does not listen yet."""
    peer = ReportTaker()
    yield peer
    peer.hang_up()


@pytest.fixture
def port() -> int:
    """Where it will."""
    return free_port()


def start_with(start_gateway: Start, port: int, **settings: Any) -> GatewayProcess:
    """Start a gateway that knows the peer, and that has one instance: 1.5."""
    settings = {"keep_done_h": 1} | settings
    gateway = start_gateway(dimse_peers=f"CR1@127.0.0.1:{port}", **settings)
    content_type, body = build_related([make_object(instance="1.5")])
    url, headers = f"{gateway.url}/dicomweb/studies", {"Content-Type": content_type}
    assert httpx.post(url, content=body, headers=headers).status_code == 200
    return gateway


def events(log: Path) -> list[str]:
    """Give the events of a gateway's log."""
    return [json.loads(line)["event"] for line in log.read_text().splitlines()]


def test_report_says_what_is_kept(start_gateway: Start, taker: ReportTaker, port: int) -> None:
    """What is in the inbox is committed to, what is not is named; on the peer's own port."""
    gateway = start_with(start_gateway, port)
    with taker.listening(port):
        transaction, association = taker.ask(gateway, "1.5", "1.6")
        association.release()
        until(lambda: taker.reports)
    [(kind, report)] = taker.reports
    assert (kind, report.TransactionUID) == (2, transaction)
    assert [i.ReferencedSOPInstanceUID for i in report.ReferencedSOPSequence] == ["1.5"]
    assert [i.ReferencedSOPInstanceUID for i in report.FailedSOPSequence] == ["1.6"]


def test_held_association_gets_the_report(
    start_gateway: Start, taker: ReportTaker, port: int
) -> None:
    """Nobody listens on the peer's port; it waits where it asked."""
    gateway = start_with(start_gateway, port)
    transaction, association = taker.ask(gateway, "1.5")
    until(lambda: taker.reports)
    assert taker.transactions() == [transaction]
    assert taker.reports[0][0] == 1
    assert association.send_c_echo().Status == 0
    association.release()


def test_report_refused_where_it_was_asked_for_goes_to_the_port(
    start_gateway: Start, taker: ReportTaker, port: int, tmp_path: Path
) -> None:
    """A peer may hold its association and still want the report on another, at once."""
    gateway = start_with(start_gateway, port)
    taker.statuses = [0x0110]
    with taker.listening(port):
        transaction, association = taker.ask(gateway, "1.5")
        until(lambda: "commitment reported" in events(tmp_path / "log0"))
    association.release()
    assert taker.transactions() == [transaction, transaction]
    assert "commitment postponed" not in events(tmp_path / "log0")


def test_association_in_use_is_left_alone() -> None:
    """Nothing is sent over one whose peer went on to other things, or hung up."""
    accepted: list[Association] = []
    entity = AE("CXRGATEWAY")
    entity.add_supported_context(Verification)
    handlers = [(evt.EVT_ACCEPTED, lambda event: accepted.append(event.assoc))]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    asking = AE("CR1")
    asking.add_requested_context(Verification)
    peer = asking.associate("127.0.0.1", server.socket.getsockname()[1])
    until(lambda: accepted)
    idle = IdleAssociations()
    idle.add(1, accepted[0])
    assert idle.take(1) is accepted[0]
    assert idle.take(1) is None
    idle.add(2, accepted[0])
    assert peer.send_c_echo().Status == 0
    assert idle.take(2) is None
    idle.add(3, accepted[0])
    peer.release()
    until(lambda: not accepted[0].is_established)
    assert idle.take(3) is None
    entity.shutdown()


def test_report_survives_a_crash(start_gateway: Start, taker: ReportTaker, port: int) -> None:
    """The gateway is killed between its answer and the report."""
    gateway = start_with(start_gateway, port)
    transaction, association = taker.ask(gateway, "1.5")
    association.abort()
    gateway.kill()
    gateway.start()
    with taker.listening(port):
        until(lambda: taker.reports)
        time.sleep(1)
    assert taker.transactions() == [transaction]


def test_report_under_way_survives_a_crash(
    start_gateway: Start, taker: ReportTaker, port: int
) -> None:
    """The next life takes it up at once, however long its lease would still run."""
    gateway = start_with(start_gateway, port, lease_s=600, delivery_timeout_s=60)
    with socket.create_server(("127.0.0.1", port)) as silent:
        transaction, association = taker.ask(gateway, "1.5")
        association.abort()
        silent.settimeout(30)
        connection, _ = silent.accept()
        gateway.kill()
        connection.close()
    gateway.start()
    with taker.listening(port):
        until(lambda: taker.reports)
    assert taker.transactions() == [transaction]


def test_report_waits_for_its_peer(
    start_gateway: Start, taker: ReportTaker, port: int, tmp_path: Path
) -> None:
    """A peer that is away, or in trouble, hears later; once."""
    gateway = start_with(start_gateway, port)
    transaction, association = taker.ask(gateway, "1.5")
    association.release()
    until(lambda: events(tmp_path / "log0").count("commitment postponed") > 1)
    taker.statuses = [0x0110]  # processing failure
    with taker.listening(port):
        until(lambda: len(taker.reports) == 2)
        until(lambda: "commitment reported" in events(tmp_path / "log0"))
    assert taker.transactions() == [transaction, transaction]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty inbox."""
    opened = Database(f"sqlite:///{tmp_path / 'inbox.sqlite3'}")
    opened.migrate()
    yield opened
    opened.close()


def make_reporter(
    reports: CommitmentReports, *peers: Peer, longest_h: float = 1.0
) -> Worker[CommitmentReport]:
    """Make a worker that is not running."""
    task, signals = CommitmentTask(reports, IdleAssociations(), "CXRGATEWAY", peers, 2), Signals()
    return Worker(
        task, 1, signals, signals.report, retry=endless_retry(60, 60), longest_h=longest_h
    )


def report_next(reports: CommitmentReports, reporter: Worker[CommitmentReport]) -> None:
    """Send what is due."""
    report = reports.lease()
    assert report is not None
    reporter.do(report)


def test_report_is_given_up(
    database: Database, caplog: pytest.LogCaptureFixture, taker: ReportTaker, port: int
) -> None:
    """After its time, or when its peer is known no more; with a line in the log."""
    reports = CommitmentReports(database, Leasing("me", 60))
    taker.statuses = [0x0110]
    with taker.listening(port):
        for peers in ([Peer("CR1", "", port)], []):
            reports.add("1.9", "CR1", "127.0.0.1", INSTANCES, 0.0)
            report_next(reports, make_reporter(reports, *peers, longest_h=0.0))
    lines = [vars(record) for record in caplog.records if record.name == LOG.name]
    assert {line["message"] for line in lines} == {"commitment given up"}
    reasons = [line["fields"]["reason"] for line in lines]
    assert reasons == ["peer-failure-0110", "peer-not-configured"]
    release_all(database, None)
    assert reports.lease() is None


def test_report_is_not_tried_again_at_once(
    database: Database, taker: ReportTaker, port: int
) -> None:
    """It waits longer from try to try, like other work."""
    reports = CommitmentReports(database, Leasing("me", 60))
    reports.add("1.9", "CR1", "127.0.0.1", INSTANCES, 0.0)
    reporter = make_reporter(reports, Peer("CR1", "", port))
    taker.statuses = [0x0110]
    with taker.listening(port):
        report_next(reports, reporter)
    assert reports.lease() is None


def test_report_is_one_worker_s(database: Database) -> None:
    """Two gateways share them; what a dead one held is taken over, and only then."""
    one = CommitmentReports(database, Leasing("one", 0.3))
    two = CommitmentReports(database, Leasing("two", 60))
    one.add("1.9", "CR1", "10.0.0.9", INSTANCES, 0.0)
    first = one.lease()
    assert first is not None
    assert two.lease() is None
    time.sleep(0.4)
    second = two.lease()
    assert second is not None
    assert (second.transaction_uid, second.address) == ("1.9", "10.0.0.9")
    assert list(second.instances) == INSTANCES
    release_all(database, "two")
    assert one.lease() is not None


def test_inbox_of_an_older_gateway_gets_the_table(tmp_path: Path) -> None:
    """Its rows stay."""
    database = Database(f"sqlite:///{tmp_path / 'inbox.sqlite3'}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.transaction() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    database.migrate()
    reports = CommitmentReports(database, Leasing("me", 60))
    assert reports.add("1.9", "CR1", "127.0.0.1", INSTANCES, 0.0) == 1
    database.close()
