"""Requests that are no requests, on a bare socket."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

import httpx
import pytest

from service.app import protocol
from tests.service.test_server import PATIENCE_S, Process, start

__all__ = ["start"]


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
        (b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 70_000, 431),
    ],
    ids=["no http", "no header", "endless head"],
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


def test_slow_head_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer runs from the first byte and ends with the head."""
    import asyncio

    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.05)

    async def scenario() -> None:
        transport = _Transport()
        peer = _make_protocol(transport)
        peer.data_received(b"GET / HT")
        began = time.monotonic()
        while not transport.closed and time.monotonic() - began < 5:
            await asyncio.sleep(0.01)
        assert transport.closed

    asyncio.run(scenario())


class _Transport:
    """Remembers that it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def get_extra_info(self, name: str) -> None:
        return None

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def _make_protocol(transport: _Transport) -> protocol.GuardedProtocol:
    import uvicorn
    from uvicorn.server import ServerState

    config = uvicorn.Config(lambda scope: None, log_config=None)
    config.load()
    made = protocol.GuardedProtocol(config, ServerState(), {})
    made.connection_made(transport)  # type: ignore[arg-type]
    return made
