"""The threads that do the arithmetic on a CPU: as many as cores, and what is nearly done first."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import IntEnum
from typing import Any, TypeVar

from service.inference.turns import Turns

T = TypeVar("T")


class Urgency(IntEnum):
    """Which of two waiting jobs begins first; of equals, owner by owner in turns, the older one."""

    RUN = 0
    DECODE = 1
    """An image that is decoded should be answered before another one is begun: fewer are under
    way at a time, and each of them is answered sooner."""


class CorePool:
    """Runs jobs on a fixed number of threads, the most urgent first.

    Decoding and inference share it on a CPU, so that there are never more busy threads than
    cores: two pools of their own would take each other's cores in turns.

    Args:
        threads: How many jobs run at a time.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._waiting: list[tuple[Urgency, int, int, Future[Any], Callable[[], Any]]] = []
        self._turns = {urgency: Turns() for urgency in Urgency}
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._closing = False
        self._workers = [
            threading.Thread(target=self._work, name=f"core_{number}", daemon=True)
            for number in range(threads)
        ]
        for worker in self._workers:
            worker.start()

    def submit(self, urgency: Urgency, job: Callable[[], T], owner: str = "") -> Future[T]:
        """Queue a job. Any thread may call it.

        Args:
            urgency: Which of the waiting ones begin first.
            job: Called without arguments.
            owner: Whose it is, a model's name say; owners take turns.

        Returns:
            Its result; cancelling it before it has begun drops it.

        Raises:
            RuntimeError: The pool is closed.
        """
        future: Future[T] = Future()
        with self._changed:
            if self._closing:
                raise RuntimeError("the pool is closed")
            turn = self._turns[urgency].give(owner)
            heapq.heappush(self._waiting, (urgency, turn, next(self._order), future, job))
            self._changed.notify()
        return future

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            future, job = taken
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # whoever waits for it is told
                future.set_exception(error)
            del taken, future, job  # a worker that waits must not hold what it worked on

    def _take(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            if not self._waiting:
                return None
            urgency, turn, _, future, job = heapq.heappop(self._waiting)
            self._turns[urgency].begin(turn)
            return future, job

    def close(self) -> None:
        """Drop what has not begun and end the threads; does not wait for what runs."""
        with self._changed:
            self._closing = True
            for _, _, _, future, _ in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._changed.notify_all()
