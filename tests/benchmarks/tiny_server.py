"""A server in the test's own event loop that answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from benchmarks.connection import HEAD_END, Target, header

DROP = "drop"
SILENCE = "silence"


def reply(status: int, body: bytes = b"{}", **headers: str) -> bytes:
    """Give the bytes of an answer; underscores in header names become hyphens."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + HEAD_END + body


@dataclass
class TinyServer:
    """Where it listens and what it received.

    Attributes:
        target: Its address.
        bodies: Of the requests, in order.
    """

    target: Target
    bodies: list[bytes] = field(default_factory=list)


@asynccontextmanager
async def tiny_server(answer: Callable[[int, bytes], bytes | str]) -> AsyncIterator[TinyServer]:
    """Serve; ``answer`` gives the bytes for the n-th request's body, DROP or SILENCE."""
    seen = TinyServer(Target("127.0.0.1", 0))
    writers: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            while True:
                head = (await reader.readuntil(HEAD_END)).lower()
                body = await reader.readexactly(int(header(head, b"content-length") or 0))
                seen.bodies.append(body)
                given = answer(len(seen.bodies) - 1, body)
                if given == DROP:
                    break
                if isinstance(given, bytes):
                    writer.write(given)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    seen.target = Target("127.0.0.1", server.sockets[0].getsockname()[1], "/predict")
    try:
        yield seen
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()
        await asyncio.sleep(0)
