"""The threads that do the arithmetic on a CPU: as many as cores, shared fairly."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from service.deadline import Clock, Deadline
from service.errors import DeadlineExceededError
from service.scheduling.cores import NOT_BEGUN, Batching
from service.scheduling.fair_queue import FairQueue

T = TypeVar("T")


class CorePool:
    """Runs jobs on a fixed number of threads, shared fairly among flows.

    Decoding and inference share it on a CPU, so that there are never more busy threads than cores.
    """

    def __init__(self, threads: int, clock: Clock = time.monotonic) -> None:
        self.size = threads
        self._clock = clock
        self._begun_s: list[float | None] = [None] * threads
        self._waiting: FairQueue[tuple[Future[Any], Callable[[], Any]]] = FairQueue()
        self._changed = threading.Condition()
        self._closing = False
        self._workers = [
            threading.Thread(target=self._work, args=(number,), name=f"core_{number}", daemon=True)
            for number in range(threads)
        ]
        for worker in self._workers:
            worker.start()

    @property
    def waiting(self) -> int:
        """Number of jobs that have not begun."""
        return len(self._waiting)

    @property
    def stalled_s(self) -> float:
        """Seconds for which every thread has been at one job; 0 while one of them is free."""
        begun_s = [moment for moment in self._begun_s if moment is not None]
        if len(begun_s) < self.size:
            return 0.0
        return max(0.0, self._clock() - max(begun_s))

    def submit(self, job: Callable[[], T], *, flow: str = "", cost_s: float = 0.0) -> Future[T]:
        """Queue a job, which sees the caller's context variables. Any thread may call it.

        ``flow`` is a model's name, ``cost_s`` the expected duration: small jobs that cost nothing
        hardly wait. Cancelling the future before the job has begun drops it.

        Raises:
            RuntimeError: The pool is closed.
        """
        future: Future[T] = Future()
        begin: Callable[[], T] = partial(copy_context().run, job)
        with self._changed:
            if self._closing:
                raise RuntimeError("the pool is closed")
            self._waiting.put((future, begin), flow, cost_s)
            self._changed.notify()
        return future

    async def run(
        self,
        job: Callable[[], T],
        deadline: Deadline,
        *,
        flow: str = "",
        cost_s: float = 0.0,
        batching: Batching | None = None,
    ) -> T:
        """Await a job; cancelled, it is dropped unless it has begun. Belongs to the event loop.

        Every job is done alone.

        Raises:
            DeadlineExceededError: It was not done before the deadline.
            Exception: What the job raises.
        """

        def job_in_time() -> T:
            if deadline.is_over:
                raise DeadlineExceededError(NOT_BEGUN)
            return job()

        future = self.submit(job_in_time, flow=flow, cost_s=cost_s)
        try:
            async with asyncio.timeout(deadline.remaining_s):
                return await asyncio.wrap_future(future)
        except TimeoutError:  # a thread cannot be stopped; its result is thrown away
            raise DeadlineExceededError(NOT_BEGUN) from None

    def _work(self, number: int) -> None:
        while (taken := self._take()) is not None:
            future, job = taken
            self._begun_s[number] = self._clock()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(job())
                except BaseException as error:  # whoever waits for it is told
                    future.set_exception(error)
            self._begun_s[number] = None
            del taken, future, job  # a worker that waits must not hold what it worked on

    def _take(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            if not self._waiting:
                return None
            return self._waiting.take()

    def close(self) -> None:
        """Drop what has not begun and end the threads, without waiting for what runs."""
        with self._changed:
            self._closing = True
            for future, _ in self._waiting:
                future.cancel()
            self._waiting.clear()
            self._changed.notify_all()
