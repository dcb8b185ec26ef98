"""Connections: what is no request, what never ends, what asks for another protocol."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import socket
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from service.web import protocol
from service.web.process import MOST_OPEN_FILES
from tests.service.harness import until
from tests.service.test_server import PATIENCE_S, Process, start

__all__ = ["start"]

HEAD = b"POST /first HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /second HTTP/1.1\r\nHost: x\r\n\r\n"
BODIES = {
    "length": b"Content-Length: 5\r\n\r\nhello",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    "chunked with a trailer": b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
}
UPGRADES = {
    "h2c of Java": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n",
    "websocket": b"upgrade: websocket\r\nconnection: keep-alive, UPGRADE\r\n",
    "tls": b"Upgrade: TLS/1.0\r\nConnection: Upgrade\r\n",
    "several": b"Upgrade: foo\r\nConnection: upgrade\r\nUpgrade: bar/2, h2c\r\n",
}


def talk(address: httpx.URL, sent: bytes) -> bytes:
    """Send bytes and read all that comes until the service closes."""
    with socket.create_connection((address.host, address.port or 80), PATIENCE_S) as peer:
        peer.sendall(sent)
        received = b""
        while chunk := peer.recv(65_536):
            received += chunk
        return received


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01 this is TLS\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 70_000, 431),
    ],
    ids=["no http", "no header", "tunnel", "endless head"],
)
def test_malformed_request_gets_a_problem(
    start: Callable[..., Process], sent: bytes, status: int
) -> None:
    """Even what is no HTTP is answered as everything else is, and the service lives on."""
    url = httpx.URL(start().url())
    head, _, body = talk(url, sent).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == status
    assert httpx.get(url.join("/health/live")).status_code == 200


class Transport:
    """Remembers what was written and that it was closed."""

    def __init__(self) -> None:
        self.closed = False
        self.written = b""

    def get_extra_info(self, name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


@dataclass
class Peer:
    """A connection without a network, to an application that tells what it was asked.

    Attributes:
        refuses: Whether it answers before it reads.
        asked: Method, path and body of each request, and names of its headers.
        answering: Set to let it answer.
    """

    refuses: bool = False
    transport: Transport = field(default_factory=Transport)
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    headers: list[set[bytes]] = field(default_factory=list)
    gone: bool = False
    answering: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        config = uvicorn.Config(
            self.answer, interface="asgi3", proxy_headers=False, ws="none", timeout_keep_alive=7,
            log_config=None,
        )  # fmt: skip
        config.load()
        self.protocol = protocol.GuardedProtocol(config, ServerState(), {})
        self.protocol.connection_made(self.transport)  # type: ignore[arg-type]
        self.answering.set()

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        body = b""
        while not self.refuses:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                return
            body += message["body"]
            if not message["more_body"]:
                break
        await self.answering.wait()
        self.asked.append((scope["method"], scope["path"], body))
        self.headers.append({name for name, _ in scope["headers"]})
        await send({"type": "http.response.start", "status": 401 if self.refuses else 200})
        await send({"type": "http.response.body", "body": b""})

    async def send(self, *pieces: bytes) -> None:
        """Send pieces, and let the application work after each."""
        for piece in pieces:
            if not self.transport.closed:
                self.protocol.data_received(piece)
            for _ in range(20):
                await asyncio.sleep(0)

    @property
    def statuses(self) -> list[int]:
        """Of the answers so far."""
        return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d+)", self.transport.written)]

    @property
    def closes_in_s(self) -> float | None:
        """When it is closed if nothing comes."""
        timers = (self.protocol._timer, self.protocol.timeout_keep_alive_task)
        due = [one.when() for one in timers if one is not None and not one.cancelled()]
        return min(due) - self.protocol.loop.time() if due else None


pytestmark = pytest.mark.anyio


async def test_slow_head_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer runs from the first byte and ends with the head."""
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.01)
    peer = Peer()
    peer.protocol.data_received(b"GET / HT")
    async with asyncio.timeout(5):
        while not peer.transport.closed:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("wish", UPGRADES)
async def test_upgrade_is_ignored(wish: str, body: str) -> None:
    """The body is this request's, and what follows another (RFC 9110, 7.8)."""
    sent = HEAD + UPGRADES[wish] + BODIES[body] + HEAD + UPGRADES[wish] + BODIES[body] + NEXT
    whole = Peer()
    await whole.send(sent, b"")
    assert whole.asked == [("POST", "/first", b"hello")] * 2 + [("GET", "/second", b"")]
    assert not any(b"upgrade" in names or b"a" in names for names in whole.headers)
    assert not whole.transport.closed


@pytest.mark.parametrize("body", BODIES)
async def test_upgrade_is_ignored_however_it_is_cut(body: str) -> None:
    """At every byte, and into single bytes."""
    sent = HEAD + UPGRADES["h2c of Java"] + BODIES[body] + NEXT
    cuts = [[sent[:at], sent[at:]] for at in range(1, len(sent))]
    for pieces in [*cuts, [sent[at : at + 1] for at in range(len(sent))]]:
        peer = Peer()
        await peer.send(*pieces, b"")
        assert peer.asked == [("POST", "/first", b"hello"), ("GET", "/second", b"")]


async def test_many_upgrades_in_one_piece_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as a piece holds, without a deep stack."""
    monkeypatch.setattr(protocol, "MAX_PIPELINED", 3000)
    one = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    peer = Peer()
    await peer.send(one * 3000)
    await until(lambda: len(peer.asked) == 3000)


ENDLESS = {
    "trailers": b"5\r\nhello\r\n0\r\n" + b"".join(b"X-%d: %d\r\n" % (i, i) for i in range(20_000)),
    "one trailer": b"5\r\nhello\r\n0\r\nX: " + b"a" * 300_000,
    "a chunk extension": b"5;" + b"a" * 300_000,
    "a second extension": b"5\r\nhello\r\n5;" + b"a" * 300_000,
}


@pytest.mark.parametrize("refuses", [False, True], ids=["while it is read", "after the answer"])
@pytest.mark.parametrize("what", ENDLESS)
async def test_what_surrounds_a_body_is_bounded(what: str, refuses: bool) -> None:
    """It is dropped as it comes, and refused or cut off when it is too long."""
    peer, sent = Peer(refuses), ENDLESS[what]
    await peer.send(CHUNKED)
    tracemalloc.start()
    await peer.send(*(sent[at : at + 4096] for at in range(0, len(sent), 4096)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peer.transport.closed
    assert peer.statuses == [401 if refuses else 431]
    assert peer.gone != refuses
    assert peak < 1_000_000


async def test_small_chunks_and_some_trailers_are_read() -> None:
    """However much surrounds a body that goes on; trailers are not headers."""
    peer = Peer()
    await peer.send(
        CHUNKED, *[b"1\r\nx\r\n"] * 20_000, b"0\r\nX-API-Key: b\r\nHost: y\r\n\r\n", NEXT
    )
    assert [len(body) for _, _, body in peer.asked] == [20_000, 0]
    assert b"x-api-key" not in peer.headers[0]


async def test_body_that_goes_on_after_its_refusal_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No byte of it puts the end off."""
    monkeypatch.setattr(protocol, "LINGER_S", 0.02)
    peer = Peer(refuses=True)
    await peer.send(HEAD + b"Content-Length: 1000000\r\n\r\n")
    async with asyncio.timeout(5):
        while not peer.transport.closed:
            await peer.send(b"x")
            await asyncio.sleep(0.001)
    assert peer.statuses == [401]


async def test_connection_lives_on_when_a_refused_body_has_ended() -> None:
    """The next request is answered; without one it is closed as any idle connection."""
    peer = Peer(refuses=True)
    await peer.send(HEAD + b"Content-Length: 5\r\n\r\nhe")
    assert peer.closes_in_s == pytest.approx(7, abs=1)
    await peer.send(b"l")
    assert peer.closes_in_s == pytest.approx(protocol.LINGER_S, abs=1)
    await peer.send(b"lo")
    assert peer.closes_in_s == pytest.approx(7, abs=1)
    await peer.send(NEXT)
    assert peer.statuses == [401, 401]
    assert not peer.transport.closed


@pytest.mark.parametrize("sent", [b"no http\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000])
async def test_earlier_request_is_answered_before_what_follows_is_refused(sent: bytes) -> None:
    """A refusal in between would be taken for its answer."""
    peer = Peer()
    peer.answering.clear()
    await peer.send(NEXT, sent, sent)
    assert (peer.statuses, peer.transport.closed) == ([], False)
    peer.answering.set()
    await peer.send(b"")
    assert (peer.statuses, peer.transport.closed) == ([200], True)


def test_pipelined_requests_are_bounded(start: Callable[..., Process]) -> None:
    """So many are answered, then the connection ends: a read of 256 KiB may hold thousands."""
    url = httpx.URL(start().url())
    one = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    few = talk(url, one * 20 + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert few.count(b"HTTP/1.1 200") == 21
    many = talk(url, one * 1000)
    assert 1 <= many.count(b"HTTP/1.1 200") <= protocol.MAX_PIPELINED + 2
    assert httpx.get(url.join("/health/live")).status_code == 200


def test_soft_limit_of_open_files_is_raised(start: Callable[..., Process]) -> None:
    """To the hard one: a shell's 1,024 connections are soon taken."""
    process = start()
    process.url()
    soft, hard = resource.prlimit(process.popen.pid, resource.RLIMIT_NOFILE)
    assert soft == min(hard, MOST_OPEN_FILES)
