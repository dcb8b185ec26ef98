"""Who hangs takes only their own share of the gateway."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pynetdicom import AE, evt

from service.gateway.signals import Signals
from service.gateway.store.outbox import Outbox
from service.gateway.work.loop import Failure, Worker, endless_retry
from tests.gateway.conftest import Box
from tests.gateway.fakes import FakeArchive, FakeService, Hanging
from tests.gateway.objects import COMPREHENSIVE_3D_SR, make_object
from tests.gateway.process import GatewayProcess, free_port, until
from tests.gateway.raw_dimse import make_pdu
from tests.gateway.test_commitment import ReportTaker
from tests.gateway.test_gateway import stow

pytestmark = pytest.mark.xdist_group("waits")

Start = Callable[..., GatewayProcess]
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class Piece:
    """A piece of work."""

    receiver: str
    attempts: int = 0
    begun_s: float = 0.0


class Desk:
    """Work on a table, and how much of it is being done for each receiver."""

    name = "desk"

    def __init__(self, *receivers: str, slots: int = 2) -> None:
        self.waiting = [Piece(one) for one in receivers]
        self.is_over = threading.Event()
        self.begun: list[str] = []
        self.done: list[str] = []
        self.given_up: list[str] = []
        self.hanging: Collection[str] = ()
        self.signals = Signals()
        self.worker = Worker(
            self, slots, self.signals, self.signals.delivery,
            retry=endless_retry(1, 1), longest_h=1.0,
        )  # fmt: skip

    def lease(self, full: Collection[str]) -> Piece | None:
        """Take the next piece from the table."""
        due = next((one for one in self.waiting if one.receiver not in full), None)
        if due is not None:
            self.waiting.remove(due)
        return due

    def receiver(self, work: Piece) -> str:
        """Return whom it is for."""
        return work.receiver

    def describe(self, work: Piece) -> dict[str, Any]:
        """Say nothing."""
        return {}

    def do(self, work: Piece) -> Failure | None:
        """Do a piece, if its receiver does not hang."""
        self.begun.append(work.receiver)
        if work.receiver in self.hanging:
            self.is_over.wait(60)
        self.done.append(work.receiver)
        return None

    def postpone(self, work: Piece, reason: str, delay_s: float) -> None:
        """Put a piece back."""
        self.waiting.append(work)

    def dead_letter(self, work: Piece, reason: str) -> None:
        """Note who did not get it."""
        self.given_up.append(work.receiver)

    def count(self, work: Piece, outcome: str) -> None:
        """Count nothing."""


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Work for one that hangs and for one that does not."""
    made = Desk(*["bad"] * 10, *["good"] * 10)
    made.hanging = {"bad"}
    yield made
    made.is_over.set()
    made.worker.join(time.monotonic() + 10)


def test_who_hangs_takes_slots_of_their_own(desk: Desk) -> None:
    """Everything of the others is done, and as much of theirs begun as they have slots."""
    desk.worker.start()
    until(lambda: desk.done.count("good") == 10, 10)
    assert desk.begun.count("bad") == 2
    desk.is_over.set()
    until(lambda: desk.done.count("bad") == 10, 10)
    desk.signals.stop()


def test_failure_gives_its_slot_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a line in the log; the work is found again when its lease is over."""
    monkeypatch.setattr(desk.worker, "do", lambda work: 1 / 0)
    desk.signals.stop()  # nobody waits after a failure
    for _ in range(20):
        until(desk.worker.begin_one, 10)
    desk.worker.join(time.monotonic() + 10)
    assert not desk.worker.begin_one()
    assert [record.message for record in caplog.records] == ["worker failed"] * 20


def test_thread_that_cannot_be_had_gives_its_slot_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are too many."""
    with monkeypatch.context() as broken:
        broken.setattr(threading.Thread, "start", lambda self: exec("raise RuntimeError"))
        for _ in range(5):
            with pytest.raises(RuntimeError):
                desk.worker.begin_one()
    assert desk.worker.begin_one()


def test_a_ring_while_the_worker_is_busy_is_not_lost() -> None:
    """Its next wait is over at once, and the one after that is not."""
    bell = Signals().delivery
    bell.ring()
    for longest_s, is_short in ((60.0, True), (0.05, False)):
        began_s = time.monotonic()
        bell.wait(longest_s)
        assert (time.monotonic() - began_s < 0.05) == is_short


def test_deliveries_of_some_are_left(box: Box) -> None:
    """Those to a destination whose slots are taken, and no others."""
    box.receive(make_object())
    box.analyse_next()
    outbox: Outbox = box.outbox
    assert outbox.lease({"pacs", "archive"}) is None
    way = outbox.lease({"pacs"})
    assert way is not None
    assert way.destination == "archive"


def hang(event: evt.Event) -> int:
    """Answer a C-STORE never, as far as a test is concerned."""
    is_over: threading.Event = event.assoc.ae.is_over
    is_over.wait(60)
    return 0


@pytest.fixture
def silent_node() -> Iterator[int]:
    """A DIMSE node that lets in and answers nothing; its port."""
    entity: Any = AE("PACS")
    entity.is_over = threading.Event()
    for sop_class in (COMPREHENSIVE_3D_SR, SECONDARY_CAPTURE):
        entity.add_supported_context(sop_class)
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, hang)]
    )
    yield server.socket.getsockname()[1]
    entity.is_over.set()
    entity.shutdown()


HALF_AN_ANSWER = {
    "http://127.0.0.1:{}": b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
    "dicom://PACS@127.0.0.1:{}": make_pdu(2, b"", 1000),
}


@pytest.mark.parametrize("url", HALF_AN_ANSWER, ids=["STOW", "DIMSE"])
@pytest.mark.parametrize("is_half", [False, True], ids=["silent", "half an answer"])
def test_archive_that_hangs_holds_up_its_own_deliveries(
    start_gateway: Start, archive: FakeArchive, url: str, is_half: bool
) -> None:
    """Twenty studies go to the healthy one while the other takes connections and hangs."""
    with closing(Hanging(HALF_AN_ANSWER[url] if is_half else b"")) as bad:
        gateway = start_gateway(
            destinations=f"bad={url.format(bad.port)} good={archive.url}",
            delivery_timeout_s=100,
            lease_s=200,
        )
        stow(gateway, *(make_object(f"1.2.{i}") for i in range(20)))
        until(lambda: len(archive.arrivals) == 40)
        assert 0 < bad.connections <= 2


def test_node_that_never_confirms_holds_up_its_own_deliveries(
    start_gateway: Start, archive: FakeArchive, silent_node: int
) -> None:
    """By C-STORE, after it has let the gateway in."""
    gateway = start_gateway(
        destinations=f"bad=dicom://PACS@127.0.0.1:{silent_node} good={archive.url}",
        delivery_timeout_s=100,
        lease_s=200,
    )
    stow(gateway, *(make_object(f"1.2.{i}") for i in range(20)))
    until(lambda: len(archive.arrivals) == 40)


def test_archive_that_comes_back_gets_what_waited(start_gateway: Start) -> None:
    """A destination's slots are free again once its answers come, or time is over."""
    archive = FakeArchive()
    is_over = threading.Event()
    archive.script = lambda number: is_over.wait(60) and None  # type: ignore[func-returns-value]
    try:
        gateway = start_gateway(
            destinations=f"pacs={archive.url}", delivery_timeout_s=100, lease_s=200
        )
        stow(gateway, *(make_object(f"1.2.{i}") for i in range(6)))
        until(lambda: archive.requests)
        is_over.set()
        until(lambda: len(gateway.jobs(state="done")) == 6)
    finally:
        is_over.set()
        archive.stop()


def test_peer_that_hangs_holds_up_its_own_reports(start_gateway: Start) -> None:
    """Of storage commitment: another peer hears meanwhile."""
    taker, port = ReportTaker(), free_port()
    with closing(Hanging()) as bad:
        gateway = start_gateway(
            dimse_peers=f"CR0@127.0.0.1:{bad.port} CR1@127.0.0.1:{port}",
            delivery_timeout_s=100,
            lease_s=200,
        )
        for _ in range(3):
            _, association = taker.ask(gateway, "1.5", calling="CR0")
            association.release()
        until(lambda: bad.connections)
        transaction, association = taker.ask(gateway, "1.5")
        association.release()
        with taker.listening(port):
            until(lambda: taker.reports)
        assert taker.transactions() == [transaction]
        assert bad.connections == 1
        taker.hang_up()


def test_service_that_hangs_holds_up_analyses_only(
    start_gateway: Start, archive: FakeArchive, fake_service: FakeService
) -> None:
    """What is made already is delivered, objects are taken, studies pulled, health answered."""
    archive.script = lambda number: (503, {}, b"") if number < 4 else None
    gateway = start_gateway(analysis_timeout_s=100, lease_s=200, wado_url=archive.url)
    stow(gateway, make_object("1.2.1"))
    until(lambda: gateway.jobs(state="delivering"))
    is_over = threading.Event()
    fake_service.script = lambda number: is_over.wait(60) and None  # type: ignore[func-returns-value]
    archive.studies["1.3"] = [make_object("1.3")]
    try:
        assert stow(gateway, *(make_object(f"1.2.{i}") for i in range(2, 9))).status_code == 200
        until(lambda: gateway.jobs(state="done"))
        assert httpx.post(f"{gateway.url}/v1/studies/1.3:analyze", timeout=30).status_code == 202
        assert httpx.get(f"{gateway.url}/health").status_code == 200
    finally:
        is_over.set()
