"""Dynamic batching."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, Protocol, TypeAlias, TypeVar

from service.deadline import Clock, Deadline
from service.errors import DeadlineExceededError, InferenceFailedError, NotReadyError
from service.lifecycle import RETRY_DRAINING_S
from service.scheduling.admission import MovingMean
from service.scheduling.batch_queue import BatchQueue, Item, ItemOutput, P, R
from service.telemetry.logs import log_event
from service.telemetry.timeline import MS_PER_S

SMOOTHING = 0.2  # weight of the newest run in the mean duration: about the last ten count
MAX_RETRY_AFTER_S = 60

ENGINE_FAILED = "The model could not be run. Try again; if it persists, report the request id."
NOT_BACK = "The model does not come back from its run. Try another replica."
NOT_FINITE = "The model gave no finite numbers for this image. Other images are not affected."


P_contra = TypeVar("P_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

Run: TypeAlias = Callable[[], Sequence[R | InferenceFailedError]]
"""A batch about to be run: gives each item's answer, in order, or why it alone has none."""


class BatchRunner(Protocol[P_contra, R_co]):
    """What stands behind a batcher."""

    def form(self, payloads: Sequence[P_contra]) -> Run[R_co]:
        """Stack a batch, on the event loop; the return value runs it, on a thread."""

    def prepare_thread(self) -> None:
        """Prepare that thread, before its first run."""


class Batcher(Generic[P, R]):
    """Collects items into batches and runs them. Belongs to the event loop.

    One batch runs at a time, on a thread of its own, and while it runs the next one is formed,
    so the runner never waits for the event loop to stack arrays.

    Args:
        runner: Runs the batches.
        max_batch: Most items in a batch.
        batch_window_s: Longest wait of the oldest item once the engine is free.
        queue_capacity: Most items that may wait.
        longest_run_s: Items of a longer run fail.
        on_run: Called with the waits of its items and the duration of every run, in seconds.
        clock: Returns seconds.
    """

    def __init__(
        self,
        runner: BatchRunner[P, R],
        *,
        max_batch: int,
        batch_window_s: float,
        queue_capacity: int,
        longest_run_s: float | None = None,
        on_run: Callable[[Sequence[float], float], None] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self._runner = runner
        self._queue: BatchQueue[P, R] = BatchQueue(max_batch, batch_window_s, queue_capacity)
        self._longest_run_s = longest_run_s
        self._clock = clock
        self._on_run = on_run
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="engine", initializer=runner.prepare_thread
        )
        self._changed = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._running_count = 0
        self._run_begun_s = 0.0
        self._giving_up: asyncio.TimerHandle | None = None
        self._forming: asyncio.Task[None] | None = None
        self._stopping = False
        self._item_s = MovingMean(SMOOTHING)

    @property
    def depth(self) -> int:
        """Number of items that wait."""
        return len(self._queue)

    @property
    def capacity(self) -> int:
        """Most items that may wait."""
        return self._queue.capacity

    @property
    def _is_busy(self) -> bool:
        return self._running is not None

    @property
    def mean_item_s(self) -> float:
        """Seconds of a run for each of its items, a moving average; 0 before the first run."""
        return self._item_s.value

    @property
    def running_s(self) -> float:
        """Seconds since the current run began; 0 between runs."""
        return self._clock() - self._run_begun_s if self._is_busy else 0.0

    @property
    def backlog_s(self) -> float:
        """Seconds until what waits and what runs should be done."""
        return (len(self._queue) + self._running_count) * self.mean_item_s

    @property
    def retry_after_s(self) -> int:
        """Whole seconds until the queue should be done."""
        return min(MAX_RETRY_AFTER_S, max(1, math.ceil(self.backlog_s)))

    def start(self) -> None:
        """Begin to form batches."""
        self._forming = asyncio.create_task(self._form_batches())

    async def stop(self) -> None:
        """Accept nothing more, finish what was accepted, and end the engine's thread."""
        self._stopping = True
        self._changed.set()
        if self._forming is not None:
            await self._forming
        self._thread.shutdown()

    def verify_room(self, count: int) -> None:
        """Raise the QueueFullError that :meth:`submit` would raise."""
        self._queue.verify_room(count, self.retry_after_s)

    def submit(
        self, payloads: Sequence[P], deadline: Deadline
    ) -> list[asyncio.Future[ItemOutput[R]]]:
        """Queue the items of one request, all or none, and return a future for each.

        Cancelling a future removes its item, unless its run has begun. It raises
        DeadlineExceededError if the run has not begun by the deadline or takes too long, and
        InferenceFailedError if it fails.

        Raises:
            QueueFullError: There is no room for all; nothing was queued.
            NotReadyError: The batcher is stopping.
        """
        if self._stopping:
            raise NotReadyError("The service is stopping. Try another replica.", RETRY_DRAINING_S)
        self.verify_room(len(payloads))
        loop = asyncio.get_running_loop()
        now_s, busy = self._clock(), self._is_busy
        items: list[Item[P, R]] = [
            Item(one, deadline, loop.create_future(), now_s, busy) for one in payloads
        ]
        self._queue.put(items)
        # One timer per request: its client is told at the deadline, however long a run takes.
        timer = loop.call_later(deadline.remaining_s, self._expire, items)
        unsettled = len(items)

        def settled(_: asyncio.Future[ItemOutput[R]]) -> None:
            nonlocal unsettled
            unsettled -= 1
            if not unsettled:
                timer.cancel()  # it would hold the payloads until the deadline

        for item in items:
            item.answer.add_done_callback(settled)
        self._changed.set()
        return [item.answer for item in items]

    def _expire(self, items: list[Item[P, R]]) -> None:
        for item in items:
            if not item.is_running:
                item.expire()

    async def _form_batches(self) -> None:
        while self._queue or self._running or not self._stopping:
            self._changed.clear()
            due_s = self._queue.due_in_s(self._clock(), engine_busy=self._is_busy)
            if due_s == 0.0:
                await self._start_next()
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(due_s):
                    await self._changed.wait()

    async def _start_next(self) -> None:
        items = self._queue.take()
        if not items:
            return
        run = self._form(items)
        if self._running is not None:  # formed ahead
            await asyncio.wait([self._running])
        waited_for = [item for item in items if not item.answer.done()]
        if len(waited_for) < len(items):  # some left while the batch before was running
            items, run = waited_for, self._form(waited_for)
        if run is not None:
            for item in items:
                item.is_running = True
            self._running_count, self._run_begun_s = len(items), self._clock()
            self._running = asyncio.create_task(self._run(items, run))
            self._running.add_done_callback(self._ended)
            if self._longest_run_s is not None:
                loop = asyncio.get_running_loop()
                self._giving_up = loop.call_later(self._longest_run_s, _give_up, items)

    def _ended(self, _: asyncio.Task[None]) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
        self._running, self._running_count, self._giving_up = None, 0, None
        self._changed.set()

    def _form(self, items: list[Item[P, R]]) -> Run[R] | None:
        try:
            return self._runner.form([item.payload for item in items]) if items else None
        except Exception as error:  # no memory, say: these items fail, the batcher goes on
            self._fail(items, error)
            return None

    async def _run(self, items: list[Item[P, R]], run: Run[R]) -> None:
        """Run one batch and settle its items. Never raises."""
        try:
            outcomes, started_s, ended_s = await asyncio.wrap_future(
                self._thread.submit(self._timed, run)
            )
            run_s = ended_s - started_s
            item_s = run_s / len(items)
            self._item_s.add(item_s)
            if self._on_run is not None:
                self._on_run([started_s - item.accepted_s for item in items], run_s)
            self._settle(items, outcomes, started_s, run_s)
        except Exception as error:  # whatever a runner raises, nobody is left waiting
            self._fail(items, error)

    def _timed(self, run: Run[R]) -> tuple[Sequence[R | InferenceFailedError], float, float]:
        started_s = self._clock()
        outcomes = run()
        return outcomes, started_s, self._clock()

    def _settle(
        self,
        items: list[Item[P, R]],
        outcomes: Sequence[R | InferenceFailedError],
        started_s: float,
        run_s: float,
    ) -> None:
        for item, outcome in zip(items, outcomes, strict=True):
            if item.answer.done():
                continue
            if isinstance(outcome, InferenceFailedError):
                item.answer.set_exception(outcome)
                continue
            queue_ms = (started_s - item.accepted_s) * MS_PER_S
            item.answer.set_result(ItemOutput(outcome, queue_ms, run_s * MS_PER_S, len(items)))

    def _fail(self, items: list[Item[P, R]], error: Exception) -> None:
        ids = sorted({one.identity["request_id"] for one in items if one.identity})
        log_event(logging.ERROR, "batch failed", error, items=len(items), request_ids=ids)
        for item in items:
            if not item.answer.done():
                item.answer.set_exception(InferenceFailedError(ENGINE_FAILED))


def _give_up(items: Sequence[Item[P, R]]) -> None:
    for item in items:
        if not item.answer.done():
            item.answer.set_exception(DeadlineExceededError(NOT_BACK))
