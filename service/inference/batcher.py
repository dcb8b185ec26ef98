"""Dynamic batching in front of one engine."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from cxr.image import ModelInput
from service.deadline import Clock, Deadline
from service.errors import InferenceFailedError, NotReadyError
from service.inference.batch_queue import BatchQueue, Item, ItemOutput
from service.inference.buckets import bucket_sizes, stack_padded
from service.inference.engine import Engine, EngineOutput
from service.lifecycle import RETRY_DRAINING_S
from service.telemetry.logs import log_event
from service.telemetry.stopwatch import MS_PER_S

SMOOTHING = 0.2  # weight of the newest run in the mean duration: about the last ten count
MAX_RETRY_AFTER_S = 60

ENGINE_FAILED = "The model could not be run. Try again; if it persists, report the request id."
NOT_FINITE = "The model gave no finite numbers for this image. Other images are not affected."


class Batcher:
    """Collects items into batches and runs them, one at a time, on the engine's own thread.

    While a batch runs the next one is formed, so the engine never waits for the event loop
    to stack arrays. All methods belong to the event loop.

    Args:
        engine: Runs the batches.
        max_batch: Most items of a batch.
        batch_window_s: Longest wait of the oldest item once the engine is free.
        queue_capacity: Most items that may wait.
        clock: Gives seconds.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        max_batch: int,
        batch_window_s: float,
        queue_capacity: int,
        clock: Clock = time.monotonic,
    ) -> None:
        self._engine = engine
        self._queue = BatchQueue(max_batch, batch_window_s, queue_capacity)
        self._buckets = bucket_sizes(max_batch)
        self._clock = clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._changed = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._forming: asyncio.Task[None] | None = None
        self._stopping = False
        self._mean_run_s = 0.0

    @property
    def depth(self) -> int:
        """Items that wait."""
        return len(self._queue)

    @property
    def capacity(self) -> int:
        """Items that may wait."""
        return self._queue.capacity

    @property
    def _is_busy(self) -> bool:
        return self._running is not None and not self._running.done()

    @property
    def retry_after_s(self) -> int:
        """Whole seconds until the present queue should be done."""
        batches = math.ceil(len(self._queue) / self._queue.max_batch) + 1
        return min(MAX_RETRY_AFTER_S, max(1, math.ceil(batches * self._mean_run_s)))

    def start(self) -> None:
        """Begin to form batches."""
        self._forming = asyncio.create_task(self._form_batches())

    async def stop(self) -> None:
        """Accept nothing more, finish what was accepted, and end the engine's thread."""
        self._stopping = True
        self._changed.set()
        if self._forming is not None:
            await self._forming
        self._executor.shutdown()

    def verify_room(self, count: int) -> None:
        """Refuse early what :meth:`submit` would refuse.

        Raises:
            QueueFullError: Fewer than ``count`` places are free.
        """
        self._queue.verify_room(count, self.retry_after_s)

    def submit(
        self, inputs: Sequence[ModelInput], deadline: Deadline
    ) -> list[asyncio.Future[ItemOutput]]:
        """Queue the items of one request: all of them or none.

        Cancelling a future takes its item out, unless its run has begun.

        Args:
            inputs: Arrays of shape (1, S, S), uint8.
            deadline: An item whose run has not begun by then gets DeadlineExceededError.

        Returns:
            A future per item, in order. It may also raise InferenceFailedError.

        Raises:
            QueueFullError: There is no room for all; nothing was queued.
            NotReadyError: The batcher is stopping.
        """
        if self._stopping:
            raise NotReadyError("The service is stopping. Try another replica.", RETRY_DRAINING_S)
        self.verify_room(len(inputs))
        loop = asyncio.get_running_loop()
        now_s, busy = self._clock(), self._is_busy
        items = [Item(one, deadline, loop.create_future(), now_s, busy) for one in inputs]
        self._queue.put(items)
        # One timer per request: its client is told at the deadline, however long a run takes.
        timer = loop.call_later(deadline.remaining_s, self._expire, items)
        unsettled = len(items)

        def settled(_: asyncio.Future[ItemOutput]) -> None:
            nonlocal unsettled
            unsettled -= 1
            if not unsettled:
                timer.cancel()  # it would hold the model inputs until the deadline

        for item in items:
            item.answer.add_done_callback(settled)
        self._changed.set()
        return [item.answer for item in items]

    def _expire(self, items: list[Item]) -> None:
        for item in items:
            if not item.is_running:
                item.expire()

    async def _form_batches(self) -> None:
        while self._queue or self._is_busy or not self._stopping:
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
        batch = self._stack(items)
        if self._running is not None:
            await self._running
        waited_for = [item for item in items if not item.answer.done()]
        if len(waited_for) < len(items):  # some left while the batch before was running
            items, batch = waited_for, self._stack(waited_for)
        if batch is not None:
            for item in items:
                item.is_running = True
            self._running = asyncio.create_task(self._run(items, batch))

    def _stack(self, items: list[Item]) -> NDArray[np.uint8] | None:
        try:
            return stack_padded([i.model_input for i in items], self._buckets) if items else None
        except Exception as error:  # no memory, say: these items fail, the batcher goes on
            self._fail(items, error)
            return None

    async def _run(self, items: list[Item], batch: NDArray[np.uint8]) -> None:
        """Run one batch and settle its items. Never raises."""
        started_s = self._clock()
        loop = asyncio.get_running_loop()
        try:
            output = await loop.run_in_executor(self._executor, self._engine.run, batch)
            run_s = self._clock() - started_s
            known_s = self._mean_run_s or run_s
            self._mean_run_s = known_s + SMOOTHING * (run_s - known_s)
            self._settle(items, output, started_s, run_s)
        except Exception as error:  # whatever an engine raises, nobody is left waiting
            self._fail(items, error)
        finally:
            self._changed.set()

    def _settle(
        self, items: list[Item], output: EngineOutput, started_s: float, run_s: float
    ) -> None:
        for index, item in enumerate(items):
            if item.answer.done():
                continue
            row = output.row(index)
            if not row.is_finite:
                item.answer.set_exception(InferenceFailedError(NOT_FINITE))
                continue
            queue_ms = (started_s - item.accepted_s) * MS_PER_S
            item.answer.set_result(ItemOutput(row, queue_ms, run_s * MS_PER_S))

    def _fail(self, items: list[Item], error: Exception) -> None:
        log_event(logging.ERROR, "batch failed", error, items=len(items))
        for item in items:
            if not item.answer.done():
                item.answer.set_exception(InferenceFailedError(ENGINE_FAILED))
