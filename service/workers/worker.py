"""One worker process, as the service sees it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from service.telemetry.logs import log_event
from service.workers.codec import decode
from service.workers.messages import (
    Assembler,
    MessageError,
    Order,
    Outcome,
    frame,
    pack,
    rest_of,
)
from service.workers.spawning import Spawned

T = TypeVar("T")

MOST_BYTES = 1 << 30
"""Of one message: a model input, an answer, and at most a picture or a report."""

PIECE_BYTES = 1 << 18
LARGE_BYTES = 1 << 16
"""Buffers of a message that go through a slot: smaller ones fit into the socket."""

KEPT_BYTES = 4 << 20
"""Of a slot, once it is free again."""

MOST_BUFFERS = 64  # of one call; the system takes 1024
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
TICKS_PER_S = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
MESSAGE_FAULT = "worker sent nonsense"


class WorkerEndedError(Exception):
    """The process ended before the job was done."""


class Worker:
    """Gives jobs to a process. Belongs to the event loop.

    Args:
        spawned: The process.
        on_end: Called once when it has ended.
    """

    def __init__(self, spawned: Spawned, on_end: Callable[[Worker], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_end = on_end
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._arrived = Assembler(MOST_BYTES)
        self._unsent: list[memoryview] = []
        self._has_ended = False
        self._process, self._socket, self._slots = spawned
        self._free = list(range(len(self._slots)))
        self._slot_of: dict[int, int] = {}
        self._statm = _open_statm(self.pid)
        self._loop.add_reader(self._socket, self._read)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def resident_bytes(self) -> int:
        """Memory it has in use; 0 where the system does not tell."""
        if self._statm is None:
            return 0
        try:
            return int(os.pread(self._statm, 256, 0).split()[1]) * PAGE_BYTES
        except (OSError, IndexError):  # it is ending
            return 0

    @property
    def cpu_s(self) -> float:
        """CPU time it has taken, in seconds; 0 where the system does not tell."""
        try:
            told = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(told[11]) + int(told[12])) / TICKS_PER_S
        except (OSError, IndexError):
            return 0.0

    def ask(
        self, job: Callable[[], T], identity: dict[str, str] | None = None, *, aside: bool = False
    ) -> asyncio.Future[T]:
        """Give it a job, which it does after those it has, or ``aside`` beside them.

        The future raises what the job does, JobFailedError for what is not deliberate, and
        WorkerEndedError if the process ends before.
        """
        answer: asyncio.Future[T] = self._loop.create_future()
        if self._has_ended:
            answer.set_exception(WorkerEndedError())
            return answer
        number = next(self._numbers)
        framed = self._frame(number, pack(Order(number, job, identity or {}, aside)))
        self._answers[number] = answer
        is_idle = not self._unsent
        self._unsent += framed
        if is_idle:
            self._write()
        return answer

    def _frame(self, number: int, parts: list[memoryview]) -> list[memoryview]:
        """Put large parts of a message into a slot, if one is free."""
        if not self._free or sum(map(len, parts[1:])) < LARGE_BYTES:
            return frame(parts)
        slot = self._free.pop()
        try:
            _write(self._slots[slot], parts[1:])
        except OSError:  # no memory: the socket takes longer, and takes none
            self._free.append(slot)
            return frame(parts)
        self._slot_of[number] = slot
        return frame(parts, slot)

    def _free_slot(self, number: int) -> None:
        slot = self._slot_of.pop(number, None)
        if slot is not None:
            self._free.append(slot)
            if os.fstat(self._slots[slot]).st_size > KEPT_BYTES:
                os.ftruncate(self._slots[slot], KEPT_BYTES)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def close(self) -> None:
        """Let it end when it has done what it has; it is not replaced."""
        self._end()

    def _write(self) -> None:
        try:
            while self._unsent:
                self._unsent = rest_of(
                    self._unsent, self._socket.sendmsg(self._unsent[:MOST_BUFFERS])
                )
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._write)
            return
        except OSError:  # it went away, or there is no memory to go on in the middle of an order
            self._end()
            return
        self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            piece = self._socket.recv(PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._end()
            return
        try:
            for parts in self._arrived.feed(piece):
                self._tell(decode(parts))
        except Exception as error:  # whatever it sent
            log_event(logging.ERROR, MESSAGE_FAULT, error)
            self._end()

    def _tell(self, outcome: object) -> None:
        if not isinstance(outcome, Outcome) or not isinstance(outcome.number, int):
            raise MessageError("a worker sent no outcome")
        if outcome.number not in self._answers:
            raise MessageError("a worker sent what nobody asked for")
        self._free_slot(outcome.number)
        outcome.settle(self._answers[outcome.number])
        del self._answers[outcome.number]

    def _end(self) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        for slot in self._slots:
            os.close(slot)
        if self._statm is not None:
            os.close(self._statm)
            self._statm = None
        self._process.kill()
        self._loop.run_in_executor(None, self._process.wait)
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(WorkerEndedError())
                answer.exception()  # nobody may wait for it, which is no news
        self._answers.clear()
        self._on_end(self)


def _open_statm(pid: int) -> int | None:
    """Open what the system tells of a process's memory, if it does: it is read often."""
    try:
        return os.open(f"/proc/{pid}/statm", os.O_RDONLY)
    except OSError:
        return None


def _write(slot: int, parts: list[memoryview]) -> None:
    start = 0
    while parts:
        written = os.pwritev(slot, parts[:MOST_BUFFERS], start)
        start += written
        parts = rest_of(parts, written)
