"""A server that reads a request and answers at once: what the load generator can do at most.

``python -m benchmarks.null`` prints its port and serves until its standard input is closed.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

from benchmarks.child import say
from benchmarks.connection import HEAD_END, header
from benchmarks.load import run_loop

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class NullProtocol(asyncio.Protocol):
    """Counts the bytes of bodies and throws them away."""

    def __init__(self) -> None:
        self._head = b""
        self._missing = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Answer when a request is whole."""
        assert self._transport is not None
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            end = self._head.find(HEAD_END)
            if end < 0:
                return
            length = int(header(self._head[: end + 2].lower(), b"content-length") or 0)
            self._missing = end + len(HEAD_END) + length - len(self._head)
            self._head = b""
        if self._missing <= 0:
            self._missing = 0
            self._transport.write(ANSWER)


async def serve() -> None:
    """Serve until told to stop."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(NullProtocol, "127.0.0.1", 0)
    say(server.sockets[0].getsockname()[1])
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    run_loop(serve())
