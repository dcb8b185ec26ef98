"""Requests of endless heads, chunks and trailers, through the protocol on a pair of sockets."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import numpy as np
import uvicorn
from uvicorn.server import ServerState

from service.web.protocol import MAX_HEAD_BYTES, GuardedProtocol
from tests.fuzzing.families import MIB, Family, about

LEAST_BYTES, MOST_BYTES = 16_384, 8 * MIB  # of what is long
PIECE = 1 << 16
BODY = b"abc"
OVER_BYTES = 4 * (MAX_HEAD_BYTES + PIECE) + MIB
"""What may be sent beyond a body until the connection is closed: the bound of a head, and what is
on its way in buffers of sockets and of the loop."""

LINES = (b"a:b\r\n", b"x-long: " + b"v" * 500 + b"\r\n", b"x: \r\n", b"cookie: a\r\n")
METHODS = (b"POST", b"GET", b"PUT", b"PATCH")
UPGRADES = (b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"Upgrade: websocket\r\n")


def make_request(rng: np.random.Generator) -> bytes:
    """Make a request of which one part is far too long, or none is."""
    long = int(rng.integers(0, 4))

    def lines(is_long: bool) -> bytes:
        line = LINES[int(rng.integers(len(LINES)))]
        size = about(rng, LEAST_BYTES, MOST_BYTES) if is_long else about(rng, 1, 2000)
        return line * max(1, size // len(line))

    head = METHODS[int(rng.integers(len(METHODS)))] + b" / HTTP/1.1\r\nHost: x\r\n"
    head += UPGRADES[int(rng.integers(len(UPGRADES)))] + lines(long == 0)
    if rng.random() < 0.15:
        return head + b"Content-Length: 3\r\n\r\nabc" + head
    extension = b";" + b"e" * (about(rng, LEAST_BYTES, MOST_BYTES) if long == 1 else 20)
    chunk = b"3" + (extension if rng.random() < 0.3 or long == 1 else b"") + b"\r\nabc\r\n"
    body = chunk * (about(rng, 1, MIB // len(chunk)) if long == 2 else 3)
    end = b"0\r\n" + (lines(long == 3) if rng.random() < 0.8 else b"")
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + body + end + b"\r\n"


def read_request(data: bytes) -> bool:
    """Send it; whatever comes is an answer of HTTP, and what surrounds bodies is bounded."""
    return asyncio.run(_converse(data))


async def _converse(data: bytes) -> bool:
    loop = asyncio.get_running_loop()
    config = uvicorn.Config(_answer, log_config=None, access_log=False, lifespan="off")
    config.load()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    await loop.connect_accepted_socket(lambda: GuardedProtocol(config, ServerState(), {}), theirs)
    received, sent = b"", 0
    with ours:
        try:
            while sent < len(data):
                await loop.sock_sendall(ours, data[sent : sent + PIECE])
                sent += PIECE
            ours.shutdown(socket.SHUT_WR)
            while piece := await asyncio.wait_for(loop.sock_recv(ours, PIECE), 20):
                received += piece
        except ConnectionError:
            pass
        await asyncio.sleep(0)
    assert not received or received.startswith(b"HTTP/1.1 "), received[:20]
    _verify_cut(data, sent)
    return received.startswith(b"HTTP/1.1 200")


def _verify_cut(data: bytes, sent: int) -> None:
    """Whatever is long without being a body must not be taken to its end."""
    at = 0
    for piece in data.split(BODY):
        if len(piece) > OVER_BYTES:
            assert sent <= at + OVER_BYTES, f"{sent - at} bytes of {len(piece)} taken"
            return
        at += len(piece) + len(BODY)


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    """Read the body and say how long it was."""
    count = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        count += len(message["body"])
        if not message["more_body"]:
            break
    content = json.dumps({"bytes": count}).encode()
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


TRAILERS = Family("trailers", make_request, read_request, cpu_s=0.5, memory_bytes=24 * MIB)
"""A body of 1 MiB in chunks of three bytes is sound, and each chunk is a call of the parser."""
