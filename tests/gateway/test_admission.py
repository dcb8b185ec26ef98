"""Connections before an association: bounded in number and time, and nobody waits for another."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from service.gateway.dimse.admission import AssociationAdmission
from service.gateway.dimse.association_request import LONGEST_REQUEST_BYTES
from tests.access.certificate import make_certificate
from tests.gateway.raw_dimse import A_ABORT, connect, make_pdu, make_request, read_pdu

REQUEST = make_request()


class Entrance:
    """An admission, and what became of those who stood there."""

    def __init__(self, tls: ssl.SSLContext | None = None, most: int = 64) -> None:
        self.now_s = 0.0
        self.entered: list[bytes] = []
        self.closed: list[str] = []
        self.has_entered = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.admission = AssociationAdmission(
            self._listener,
            tls,
            self._enter,
            most=most,
            timeout_s=15,
            on_closed=self.closed.append,
            clock=lambda: self.now_s,
        )
        self._thread = threading.Thread(target=self.admission.run)

    def _enter(self, connection: socket.socket, address: tuple[str, int], request: bytes) -> None:
        connection.close()
        self.entered.append(request)
        self.has_entered.set()

    def __enter__(self) -> Entrance:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.admission.close()
        self._thread.join()
        self._listener.close()


@pytest.fixture
def hold() -> Iterator[Callable[..., list[socket.socket]]]:
    """Open connections that say so much and no more, and hang up with the test."""
    held: list[socket.socket] = []

    def open_(port: int, count: int, said: bytes, source: str = "127.0.0.1") -> list[socket.socket]:
        opened = [connect(port, source=source) for _ in range(count)]
        held.extend(opened)
        for one in opened:
            one.sendall(said)
        return opened

    yield open_
    for one in held:
        one.close()


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context and one of a client that trusts it."""
    certificate, key = make_certificate(tmp_path_factory.mktemp("tls"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=str(certificate))


SAID = {
    "nothing": b"",
    "half a head": REQUEST[:3],
    "half a request": REQUEST[:100],
    "half a handshake": b"\x16\x03\x01\x02",
}


@pytest.mark.parametrize("count", [1, 20, 200])
@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_who_asks_gets_in_past_those_who_do_not(
    hold: Callable[..., list[socket.socket]], said: bytes, count: int
) -> None:
    """However many stand there, from the same address too, and whatever they began."""
    with Entrance() as entrance:
        hold(entrance.port, count, said)
        with connect(entrance.port) as good:
            good.sendall(REQUEST)
            assert entrance.has_entered.wait(10)
    assert entrance.entered == [REQUEST]


@pytest.mark.parametrize("count", [1, 20, 200])
@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_handshakes_do_not_wait_for_each_other(
    hold: Callable[..., list[socket.socket]],
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
    said: bytes,
    count: int,
) -> None:
    """Over TLS one silent connection is no reason that nobody else gets a handshake."""
    with Entrance(tls[0]) as entrance:
        hold(entrance.port, count, said)
        with tls[1].wrap_socket(connect(entrance.port), server_hostname="127.0.0.1") as good:
            good.sendall(REQUEST)
            assert entrance.has_entered.wait(10)
    assert entrance.entered == [REQUEST]


@pytest.mark.parametrize("said", SAID.values(), ids=SAID)
def test_time_to_ask_is_bounded(hold: Callable[..., list[socket.socket]], said: bytes) -> None:
    """Saying a little now and then is no reason to stay."""
    with Entrance() as entrance:
        held = hold(entrance.port, 3, said)
        with connect(entrance.port) as good:  # when it is in, the others were accepted
            good.sendall(REQUEST)
            assert entrance.has_entered.wait(10)
        entrance.now_s = 15.1
        assert [one.recv(1) for one in held] == [b"", b"", b""]
    assert entrance.closed == ["late"] * 3


def test_a_crowd_costs_its_own_address(hold: Callable[..., list[socket.socket]]) -> None:
    """Of more than may wait the oldest of the address with the most is closed, nobody else's."""
    with Entrance(most=4) as entrance:
        [other] = hold(entrance.port, 1, b"", "127.0.0.2")
        crowd = hold(entrance.port, 5, b"")
        assert [one.recv(1) for one in crowd[:2]] == [b"", b""]
        assert not select.select([other, *crowd[2:]], [], [], 0)[0]
        other.sendall(REQUEST)
        assert entrance.has_entered.wait(10)
    assert entrance.closed == ["crowded"] * 2


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        make_pdu(4, b"", 6),
        make_pdu(1, b"", LONGEST_REQUEST_BYTES + 1),
        make_pdu(1, b"", 0xFFFFFFFF),
    ],
    ids=["HTTP", "data first", "a little too long", "4 GiB"],
)
def test_what_is_no_request_is_aborted(said: bytes) -> None:
    """By its first six bytes, with an A-ABORT."""
    with Entrance() as entrance, closing(connect(entrance.port)) as bad:
        bad.sendall(said)
        assert read_pdu(bad) == (A_ABORT, bytes([0, 0, 2, 6]))
    assert entrance.closed == ["malformed"]


def test_failed_handshake_closes_the_connection(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    """Who speaks without TLS, where it is asked for, is not answered in DICOM."""
    with Entrance(tls[0]) as entrance, closing(connect(entrance.port)) as plain:
        plain.sendall(REQUEST)
        assert read_pdu(plain)[0] != A_ABORT
    assert entrance.closed == ["no-tls"]


def test_door_stays_open_whatever_enters() -> None:
    """An error behind it is one connection's."""
    with Entrance() as entrance:
        entrance.admission._enter = lambda *_: 1 / 0  # type: ignore[assignment,return-value]
        with connect(entrance.port) as first:
            first.sendall(REQUEST)
            assert first.recv(1) == b""
        entrance.admission._enter = entrance._enter
        with connect(entrance.port) as second:
            second.sendall(REQUEST)
            assert entrance.has_entered.wait(10)
