"""Who hangs takes only their own share of the gateway."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from pynetdicom import AE, evt

from service.gateway.signals import Signals
from service.gateway.store.outbox import Outbox
from service.gateway.work.bulkheads import Bulkheads
from tests.gateway.conftest import Box
from tests.gateway.fakes import FakeArchive, FakeService, Hanging
from tests.gateway.objects import COMPREHENSIVE_3D_SR, make_object
from tests.gateway.process import GatewayProcess, free_port, until
from tests.gateway.raw_dimse import make_pdu
from tests.gateway.test_commitment import ReportTaker
from tests.gateway.test_gateway import stow

Start = Callable[..., GatewayProcess]
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


class Desk:
    """Work on a table, and how much of it is being done for each."""

    def __init__(self, *whose: str, slots: int = 2) -> None:
        self.waiting = list(whose)
        self.is_over = threading.Event()
        self.begun: list[str] = []
        self.done: list[str] = []
        self.hanging: Collection[str] = ()
        self.signals = Signals()
        self.bulkheads = Bulkheads(
            "desk",
            slots,
            lease=self._lease,
            whose=str,
            work=self._work,
            signals=self.signals,
            bell=self.signals.delivery,
        )

    def _lease(self, but_to: Collection[str]) -> str | None:
        due = next((one for one in self.waiting if one not in but_to), None)
        if due is not None:
            self.waiting.remove(due)
        return due

    def _work(self, whose: str) -> None:
        self.begun.append(whose)
        if whose in self.hanging:
            self.is_over.wait(60)
        self.done.append(whose)


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Work for one that hangs and for one that does not."""
    made = Desk(*["bad"] * 10, *["good"] * 10)
    made.hanging = {"bad"}
    yield made
    made.is_over.set()
    for thread in made.bulkheads.threads:
        thread.join(10)


def test_who_hangs_takes_slots_of_their_own(desk: Desk) -> None:
    """Everything of the others is done, and as much of theirs begun as they have slots."""
    running = threading.Thread(target=desk.bulkheads.run)
    running.start()
    until(lambda: desk.done.count("good") == 10, 10)
    assert desk.begun.count("bad") == 2
    desk.is_over.set()
    until(lambda: desk.done.count("bad") == 10, 10)
    desk.signals.stop()
    running.join()


def test_failure_gives_its_slot_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a line in the log; the work is found again when its lease is over."""
    monkeypatch.setattr(desk.bulkheads, "_work", lambda work: 1 / 0)
    desk.signals.stop()  # nobody waits after a failure
    for _ in range(20):
        until(desk.bulkheads.begin_one, 10)
    until(lambda: not desk.bulkheads.threads, 10)
    assert not desk.bulkheads.begin_one()
    assert [record.message for record in caplog.records] == ["worker failed"] * 20


def test_thread_that_cannot_be_had_gives_its_slot_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are too many."""
    with monkeypatch.context() as broken:
        broken.setattr(threading.Thread, "start", lambda self: exec("raise RuntimeError"))
        for _ in range(5):
            with pytest.raises(RuntimeError):
                desk.bulkheads.begin_one()
    assert desk.bulkheads.begin_one()


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
