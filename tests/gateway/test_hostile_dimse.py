"""Peers with an association that send what has no end, or stop in the middle."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import P_DATA

from service.gateway.dimse.association import IdleAssociations
from service.gateway.dimse.contexts import COMMITMENT_SYNTAXES
from service.gateway.dimse.messages import (
    MAX_COMMAND_BYTES,
    MAX_DATA_SET_BYTES,
    MOST_WAITING,
    BoundedProvider,
)
from service.gateway.dimse.timed_socket import LONGEST_PDU_BYTES
from service.gateway.receive import dimse
from service.gateway.receive.commitment import Commitment
from service.gateway.receive.dimse import DimseServer
from service.gateway.receive.intake import Intake
from service.gateway.server import silence_libraries
from service.gateway.settings import GatewaySettings
from service.gateway.signals import Signals
from service.gateway.store.commitment_reports import CommitmentReports
from service.gateway.store.leases import Leasing
from service.telemetry.gateway import GatewayMetrics
from tests.gateway.conftest import open_box
from tests.gateway.process import until
from tests.gateway.raw_dimse import (
    A_ASSOCIATE_RJ,
    C_ECHO_RQ,
    C_STORE_RQ,
    COMMAND,
    LAST,
    VERIFICATION,
    associate,
    connect,
    echo,
    make_command,
    make_p_data,
    make_pdu,
    make_request,
    read_pdu,
    send_until_cut,
)

LARGEST = 100_000
KERNEL_BYTES = 8 * 2**20  # what two sockets may hold that nobody reads

STORE = make_p_data(make_command(C_STORE_RQ, has_data=True), COMMAND | LAST)
ECHO_WITH_DATA = make_p_data(
    make_command(C_ECHO_RQ, has_data=True, sop_class=VERIFICATION), COMMAND | LAST, context=1
)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., DimseServer]]:
    """Start DIMSE before an inbox, as a gateway does."""
    silence_libraries()
    box, database = open_box(tmp_path)
    metrics = GatewayMetrics()
    running: list[DimseServer] = []

    def start(**settings: Any) -> DimseServer:
        chosen = GatewaySettings(
            spool_dir=str(tmp_path), dimse_port=0, max_instance_bytes=LARGEST, **settings
        )
        reports = CommitmentReports(database, Leasing("me", 60))
        commitment = Commitment(box.inbox, reports, IdleAssociations(), ())
        intake = Intake(box.inbox, box.spool, Signals(), metrics)
        server = DimseServer(chosen, intake, commitment, metrics)
        server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop()
    database.close()


def associations() -> list[threading.Thread]:
    """Give the threads of associations that were accepted."""
    return [one for one in threading.enumerate() if isinstance(one, Association)]


WITHOUT_END = {
    "command set": (b"", make_p_data(bytes(60_000), COMMAND), MAX_COMMAND_BYTES),
    "data set that is stored": (STORE, make_p_data(bytes(200_000)), 8 * LARGEST),
    "data set that is not": (ECHO_WITH_DATA, make_p_data(bytes(200_000), 0, 1), MAX_DATA_SET_BYTES),
    "PDU": (b"", make_pdu(4, bytes(60_000), 0xFFFFFFFF), LONGEST_PDU_BYTES),
    "PDU a little too long": (b"", make_pdu(4, bytes(LONGEST_PDU_BYTES + 1)), LONGEST_PDU_BYTES),
}


@pytest.mark.parametrize(("first", "piece", "most"), WITHOUT_END.values(), ids=WITHOUT_END)
def test_what_has_no_end_is_cut(
    serve: Callable[..., DimseServer],
    tmp_path: Path,
    first: bytes,
    piece: bytes,
    most: int,
) -> None:
    """Once more came than there is a use for; nothing of it stays, and others are served."""
    port = serve().port
    with closing(associate(port)) as bad:
        bad.sendall(first)
        sent = send_until_cut(bad, piece, most + 4 * KERNEL_BYTES)
    assert sent < most + 2 * KERNEL_BYTES
    assert echo(port)
    until(lambda: not associations(), 20)
    assert not list((tmp_path / "spool" / "incoming").iterdir())


MALFORMED = {
    "unknown command": make_p_data(make_command(0x7777, has_data=False), COMMAND | LAST),
    "no command": make_p_data(b"", COMMAND | LAST),
    "no control byte": make_pdu(4, struct.pack(">IB", 1, 3)),
    "context nobody accepted": make_p_data(
        make_command(C_STORE_RQ, has_data=True), COMMAND | LAST, context=99
    )
    + make_p_data(b"data", context=99),
    "request for an association": make_request(),
    "unknown PDU": make_pdu(9, b"data"),
    "fragment longer than its PDU": make_pdu(4, struct.pack(">IBB", 999, 3, 0)),
}


@pytest.mark.parametrize("said", MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_ends_its_association(
    serve: Callable[..., DimseServer], said: bytes
) -> None:
    """And no thread with it: an exception in one is a warning here, and so an error."""
    port = serve().port
    with closing(associate(port)) as bad:
        bad.sendall(said)
        while read_pdu(bad)[0]:  # the A-ABORT
            pass
    assert echo(port)
    until(lambda: not associations(), 20)


@pytest.mark.parametrize(
    "said",
    [b"", b"\4", make_pdu(4, b"", 1000), STORE, STORE + make_pdu(4, b"x", 1000)],
    ids=["nothing", "part of a head", "head", "command", "part of a data set"],
)
def test_who_stops_in_the_middle_is_cut(
    serve: Callable[..., DimseServer], monkeypatch: pytest.MonkeyPatch, said: bytes
) -> None:
    """After the time between two PDUs; no thread of the gateway waits on."""
    monkeypatch.setattr(dimse, "NETWORK_TIMEOUT_S", 0.5)
    monkeypatch.setattr(dimse, "ACSE_TIMEOUT_S", 0.5)
    port = serve().port
    with closing(associate(port)) as bad:
        bad.sendall(said)
        while read_pdu(bad)[0]:  # the A-ABORT
            pass
        until(lambda: not associations(), 20)


# The library's thread ends with an exception if it is to send when an abort came before.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_requests_do_not_pile_up(
    serve: Callable[..., DimseServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time is what is negotiated; who sends on without an answer is aborted."""
    is_over = threading.Event()
    monkeypatch.setattr(DimseServer, "_on_store", lambda self, event: is_over.wait(30) and 0)
    port, before = serve().port, set(threading.enumerate())
    object_ = STORE + make_p_data(b"data", LAST)
    with closing(associate(port)) as bad:
        sent = send_until_cut(bad, object_ * 100, 100 * KERNEL_BYTES)
        begun = len(set(threading.enumerate()) - before)
        is_over.set()
    assert sent < KERNEL_BYTES
    assert begun < 2 * MOST_WAITING  # a file being written has a thread
    until(lambda: not set(threading.enumerate()) - before, 20)


def test_message_that_trickles_is_cut() -> None:
    """A kilobyte a second is asked for once a minute has passed; until then nothing is."""
    clock = iter([0.0, 0.0, 30.0, 59.0, 61.0])
    events: list[str] = []

    class Provider(BoundedProvider):
        dul = SimpleNamespace(event_queue=SimpleNamespace(put=events.append))

    provider = Provider(None, clock=lambda: next(clock))  # type: ignore[arg-type]
    trickle = P_DATA()
    trickle.presentation_data_value_list = []
    trickle.presentation_data_value_list.append((1, b"\1"))
    for _ in range(3):
        provider.receive_primitive(trickle)
    assert not events
    provider.receive_primitive(trickle)
    assert events == ["Evt19"]


def test_too_many_associations_are_rejected_for_now(serve: Callable[..., DimseServer]) -> None:
    """At the door, without a thread; when one ends there is room again."""
    port = serve(dimse_max_associations=2).port
    held = [associate(port) for _ in range(2)]
    with closing(connect(port)) as third:
        third.sendall(make_request())
        assert read_pdu(third) == (A_ASSOCIATE_RJ, bytes([0, 2, 3, 2]))
    for one in held:
        one.close()
    until(lambda: not associations(), 20)
    assert echo(port)


def test_stopping_waits_for_nobody(serve: Callable[..., DimseServer]) -> None:
    """Neither for who has not asked, nor for who stopped in the middle of a PDU."""
    server = serve()
    with closing(connect(server.port)), closing(associate(server.port)) as half:
        half.sendall(make_pdu(4, b"x", 1000))
        server.stop()
        assert read_pdu(half)[0] in (0, 7)
        until(lambda: not associations(), 20)


def test_commitment_is_not_asked_for_deflated() -> None:
    """What inflates to a thousand times its size is accepted only where it goes to disk."""
    assert not any(syntax.is_deflated for syntax in COMMITMENT_SYNTAXES)
