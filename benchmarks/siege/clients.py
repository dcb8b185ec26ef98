"""Requests as attackers send them: any bytes, at any pace, without the manners of a library."""

from __future__ import annotations

import json
import resource
import select
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.connection import HEAD_END, Answer, Target, parse_answer

RECEIVED_AT_ONCE = 1 << 16
SOURCES = tuple(f"127.0.0.{number}" for number in range(2, 10))
"""Addresses of loopback the silent ones come from: no bound on one address may be all there is."""
CONNECT_S = 5.0


@dataclass(frozen=True)
class Reply:
    """How a request ended.

    Attributes:
        answer: What came back, the first if several did; None if nothing whole did.
        ending: ``answered``, ``closed`` (by the server), ``silent`` (until the time was over) or
            ``not connected``.
        seconds: From the opening of the connection.
        sent_bytes: That the server took.
    """

    answer: Answer | None
    ending: str
    seconds: float
    sent_bytes: int

    @property
    def status(self) -> int:
        """HTTP status, 0 without an answer."""
        return self.answer.status if self.answer is not None else 0

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON; empty if it is no object of it."""
        try:
            found = json.loads(self.answer.body) if self.answer is not None else {}
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def __str__(self) -> str:
        if self.answer is None:
            return f"{self.ending} after {self.seconds:.0f} s"
        problem = str(self.document.get("type", "")).rpartition("#")[2]
        then = {"closed": ", then closed", "silent": ", then left open"}.get(self.ending, "")
        return f"{self.status} {problem}".rstrip() + then


def head(target: Target, method: str = "POST", /, **headers: str) -> bytes:
    """Give a request's head; underscores in header names become hyphens."""
    lines = [f"{method} {target.path} HTTP/1.1", f"Host: {target.host}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + HEAD_END


def post(target: Target, body: bytes, timeout_s: float, **headers: str) -> Reply:
    """Post a body and wait for the answer."""
    told = {"Content_Type": "application/octet-stream", "Content_Length": str(len(body))}
    return ask(target, [head(target, **(told | headers)), body], timeout_s)


def fetch(target: Target, timeout_s: float, **headers: str) -> Reply:
    """Get a page."""
    return ask(target, [head(target, "GET", **headers)], timeout_s)


def connect(target: Target, source: str = "") -> socket.socket:
    """Open a connection, from another address of loopback if one is given.

    Raises:
        OSError: Nobody listens.
    """
    bound = (source, 0) if source else None
    return socket.create_connection((target.host, target.port), CONNECT_S, source_address=bound)


def ask(
    target: Target, pieces: Iterable[bytes], timeout_s: float, *, to_the_end: bool = False
) -> Reply:
    """Send pieces while reading, until an answer is whole, the server closes or time is over.

    What is still to be sent when the answer comes stays unsent, unless ``to_the_end``.
    """
    began_s = time.monotonic()
    try:
        wire = connect(target)
    except OSError:
        return Reply(None, "not connected", time.monotonic() - began_s, 0)
    with wire:
        return converse(wire, iter(pieces), timeout_s, to_the_end=to_the_end)


def converse(
    wire: socket.socket,
    pieces: Iterator[bytes],
    timeout_s: float,
    *,
    to_the_end: bool = False,
) -> Reply:
    """Send and read on an open connection; see :func:`ask`.

    Args:
        wire: The connection.
        pieces: To send.
        timeout_s: How long at most.
        to_the_end: Go on sending behind an answer, until the server closes.
    """
    began_s = time.monotonic()
    wire.setblocking(False)
    received, sent = bytearray(), 0
    left: memoryview | None = _next(pieces)

    def end(how: str) -> Reply:
        return Reply(_parse(received), how, time.monotonic() - began_s, sent)

    while (remaining_s := began_s + timeout_s - time.monotonic()) > 0:
        writing = [wire] if left is not None else []
        readable, writable, _ = select.select([wire], writing, [], remaining_s)
        try:
            if readable:
                data = wire.recv(RECEIVED_AT_ONCE)
                received += data
                if not data:
                    return end("closed")
                if not to_the_end and _parse(received) is not None:
                    return end("answered")
            elif writable and left is not None:
                count = wire.send(left)
                sent += count
                left = left[count:] if count < len(left) else _next(pieces)
        except BlockingIOError:
            continue
        except OSError:
            return end("closed")
    return end("silent")


def _next(pieces: Iterator[bytes]) -> memoryview | None:
    for piece in pieces:
        if piece:
            return memoryview(piece)
    return None


def _parse(received: bytearray) -> Answer | None:
    try:
        return parse_answer(received)
    except ValueError:
        return None


def is_closed(wire: socket.socket) -> bool:
    """Whether the server has closed a connection; what it said is read and dropped."""
    wire.setblocking(False)
    try:
        while wire.recv(RECEIVED_AT_ONCE):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def closing_s(wires: list[socket.socket], longest_s: float) -> list[float | None]:
    """Give when the server closed each connection, in seconds from now; None if it did not."""
    began_s = time.monotonic()
    found: list[float | None] = [None] * len(wires)
    while None in found and time.monotonic() - began_s < longest_s:
        for number, wire in enumerate(wires):
            if found[number] is None and is_closed(wire):
                found[number] = time.monotonic() - began_s
        time.sleep(0.25)
    return found


def allow_files(count: int) -> None:
    """Let this process open so many files and connections, if its hard limit does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
