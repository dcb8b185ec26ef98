"""What the service and its workers send each other: orders, and what became of them.

A socket takes a fifth of a megabyte, and then the service would have to be there for the rest just
when the worker reads it. So what is large goes through a *slot*, a piece of memory that one worker
shares with the service.

The service is trusted, a worker is not: it decodes whatever arrives. What it sends is no pickle,
see :mod:`service.workers.codec`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pickle
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from service.errors import Failure

HEAD = struct.Struct("<Ib")  # the number of parts, and the slot in which all but the first are
LENGTH = struct.Struct("<Q")
MAX_PARTS = 1024
ON_THE_SOCKET = -1


class MessageError(Exception):
    """The other side sent what it must not, or went away in the middle of a message."""


@dataclass(frozen=True)
class Order:
    """A job for a worker.

    Attributes:
        number: What its outcome is told by.
        job: What to call.
        identity: Of its request, for log lines.
        aside: Whether it goes on beside other jobs, on a thread of low priority.
    """

    number: int
    job: Callable[[], Any]
    identity: dict[str, str] = field(default_factory=dict)
    aside: bool = False


class JobFailedError(Exception):
    """A job raised what it should not have; the worker's log says what."""


Fault: TypeAlias = Literal["memory", "other"]
"""Of a job that failed otherwise than deliberately."""


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its value, why it failed, or that it should not have."""

    number: int
    value: Any = None
    failure: Failure | None = None
    fault: Fault | None = None

    def settle(self, answer: asyncio.Future[Any]) -> None:
        """Tell whoever waits for it."""
        if answer.done():
            return
        if self.failure is not None:
            answer.set_exception(self.failure.restore())
        elif self.fault is not None:
            answer.set_exception(MemoryError() if self.fault == "memory" else JobFailedError())
        else:
            answer.set_result(self.value)


def pack(message: object) -> list[memoryview]:
    """Return a message as its parts: the pickle, and large buffers, which are not copied."""
    beside: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=beside.append)
    return [memoryview(body), *(one.raw() for one in beside)]


def frame(parts: Sequence[memoryview], slot: int = ON_THE_SOCKET) -> list[memoryview]:
    """Return what goes over the socket of a message's parts, the others being in a slot."""
    head = HEAD.pack(len(parts), slot) + b"".join(LENGTH.pack(len(part)) for part in parts)
    return [memoryview(head), *(parts if slot == ON_THE_SOCKET else parts[:1])]


def unpack(parts: Sequence[bytes | bytearray]) -> object:
    """Return a message from someone trusted."""
    return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301 - from the service's process


class Assembler:
    """Puts messages together from the pieces in which they arrive."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._arrived = bytearray()

    def feed(self, piece: bytes) -> Iterator[list[bytearray]]:
        """Take a piece, and give the parts of every message that is whole.

        Raises:
            MessageError: A message is larger than ``most_bytes``.
        """
        arrived = self._arrived
        arrived += piece
        while (end := self._end()) is not None and len(arrived) >= end[-1]:
            yield [arrived[start:stop] for start, stop in pairwise(end)]
            del arrived[: end[-1]]

    def _end(self) -> list[int] | None:
        """Return where the parts of the first message begin, and its end, if that is known."""
        arrived = self._arrived
        if len(arrived) < HEAD.size:
            return None
        count, slot = HEAD.unpack_from(arrived)
        if not 0 < count <= MAX_PARTS or slot != ON_THE_SOCKET:
            raise MessageError("a message has no parts, too many, or some elsewhere")
        head = HEAD.size + count * LENGTH.size
        if len(arrived) < head:
            return None
        ends = [head]
        for index in range(count):
            ends.append(ends[-1] + LENGTH.unpack_from(arrived, HEAD.size + 8 * index)[0])
        if ends[-1] > self._most_bytes:
            raise MessageError("a message is too large")
        return ends


def receive(connection: socket.socket, slots: Sequence[int]) -> list[bytes | bytearray] | None:
    """Wait for a message; None at the end.

    Args:
        connection: The worker's end of the socket pair.
        slots: File descriptors of the memory it shares with the service.

    Raises:
        MessageError: The other side went away in the middle of one.
    """
    head = _receive_exactly(connection, HEAD.size)
    if head is None:
        return None
    count, slot = HEAD.unpack(head)
    lengths = [length for (length,) in LENGTH.iter_unpack(_receive(connection, count * 8))]
    if slot == ON_THE_SOCKET:
        return [_receive(connection, length) for length in lengths]
    starts = itertools.accumulate(lengths[1:], initial=0)
    beside = [
        _read_slot(slots[slot], length, start)
        for length, start in zip(lengths[1:], starts, strict=False)
    ]
    return [_receive(connection, lengths[0]), *beside]


def _read_slot(slot: int, length: int, start: int) -> bytes:
    part = os.pread(slot, length, start)
    if len(part) < length:  # the system reads two gigabytes at a time
        rest = _read_slot(slot, length - len(part), start + len(part)) if part else None
        if rest is None:
            raise MessageError("a slot holds less than was said")
        return part + rest
    return part


def _receive(connection: socket.socket, length: int) -> bytearray:
    part = _receive_exactly(connection, length)
    if part is None:
        raise MessageError("the service went away")
    return part


def _receive_exactly(connection: socket.socket, length: int) -> bytearray | None:
    arrived = bytearray(length)
    left = memoryview(arrived)
    while left:
        count = connection.recv_into(left)
        if not count:
            return None
        left = left[count:]
    return arrived


def send(connection: socket.socket, parts: Sequence[memoryview]) -> None:
    """Send a message over the socket, waiting until all of it is on its way."""
    parts = frame(parts)
    while parts := rest_of(parts, connection.sendmsg(parts)):
        pass


def rest_of(parts: list[memoryview], sent: int) -> list[memoryview]:
    """Return what is left of buffers after so many bytes."""
    for index, part in enumerate(parts):
        if sent < len(part):
            return [part[sent:], *parts[index + 1 :]]
        sent -= len(part)
    return []
