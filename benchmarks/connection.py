"""One keep-alive HTTP/1.1 connection, with as little work per request as Python allows.

The load generator shares the machine with what it measures. A general client costs about a
millisecond per request; this one some tens of microseconds besides the kernel's copying.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import cast

HEAD_END = b"\r\n\r\n"
CHUNKED_END = b"0\r\n\r\n"


@dataclass(frozen=True)
class Target:
    """Where requests go.

    Attributes:
        host: Address.
        port: Port.
        path: Path and query.
        accept: What to accept; empty for anything.
    """

    host: str
    port: int
    path: str = "/"
    accept: str = ""


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: HTTP status.
        head: Status line and headers, lower case.
        body: The body as it was sent.
    """

    status: int
    head: bytes
    body: bytes

    @property
    def retry_after_s(self) -> float | None:
        """Seconds of a Retry-After header; None if there is none in seconds (RFC 9110, 10.2.3)."""
        value = header(self.head, b"retry-after")
        return float(value) if value is not None and value.isdigit() else None


def header(head: bytes, name: bytes) -> bytes | None:
    """Give the value of a header in a lower-case head."""
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return None
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


def build_request(target: Target, body: bytes | None) -> bytes:
    """Give the bytes of a POST of ``body``, or of a GET."""
    head = f"{'GET' if body is None else 'POST'} {target.path} HTTP/1.1\r\nHost: {target.host}\r\n"
    if target.accept:
        head += f"Accept: {target.accept}\r\n"
    if body is not None:
        head += f"Content-Type: application/octet-stream\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + (body or b"")


def build_requests(target: Target, paths: tuple[Path, ...]) -> list[bytes]:
    """Give the bytes of one POST per file: nothing is built while the clock runs."""
    return [build_request(target, path.read_bytes()) for path in paths]


class Connection(asyncio.Protocol):
    """A connection on which one exchange at a time is made. Belongs to the event loop."""

    def __init__(self) -> None:
        self.is_closed = False
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._received = bytearray()

    @classmethod
    async def open(cls, target: Target) -> Connection:
        """Connect.

        Raises:
            OSError: Nobody listens, or the backlog is full.
        """
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, target.host, target.port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        """Collect until an answer is whole."""
        self._received += data
        if self._waiting is None or self._waiting.done():
            return
        try:
            answer = parse_answer(self._received)
        except ValueError as error:
            self.close()
            self._waiting.set_exception(ConnectionError(str(error)))
            return
        if answer is not None:
            self._received.clear()
            if header(answer.head, b"connection") == b"close":
                self.close()
            self._waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits."""
        self.is_closed = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the server closed the connection"))

    def write(self, data: bytes) -> None:
        """Send bytes, whole requests or parts of one."""
        assert self._transport is not None
        self._transport.write(data)

    async def answer(self) -> Answer:
        """Wait for the answer to what was written.

        Raises:
            ConnectionError: The connection ended before the answer was whole.
        """
        self._waiting = asyncio.get_running_loop().create_future()
        if self._received:  # it came before anybody asked, and the server may have hung up since
            self.data_received(b"")
        if self.is_closed and not self._waiting.done():
            raise ConnectionResetError("the connection is closed")
        return await self._waiting

    async def exchange(self, request: bytes) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            ConnectionError: The connection ended before the answer was whole.
        """
        if self.is_closed:
            raise ConnectionResetError("the connection is closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self.write(request)
        return await self._waiting

    def close(self) -> None:
        """Close at once, whatever is on its way."""
        self.is_closed = True
        if self._transport is not None:
            self._transport.abort()


def parse_answer(received: bytearray | bytes) -> Answer | None:
    """Give the answer at the start of what was received, None until it is whole.

    Raises:
        ValueError: It is no HTTP/1.1 answer.
    """
    end = received.find(HEAD_END)
    if end < 0:
        return None
    head = bytes(received[: end + 2]).lower()
    status = int(head[9:12])
    start = end + len(HEAD_END)
    length = header(head, b"content-length")
    if length is not None:
        stop = start + int(length)
        return Answer(status, head, bytes(received[start:stop])) if len(received) >= stop else None
    if header(head, b"transfer-encoding") == b"chunked":
        # The chunks are counted and kept as they are: no server measured here sends an answer
        # that is read in chunks.
        whole = received.endswith(CHUNKED_END)
        return Answer(status, head, bytes(received[start:])) if whole else None
    return Answer(status, head, b"")
