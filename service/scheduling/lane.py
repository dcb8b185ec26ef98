"""The way of one model's images from their bytes to the engine's answer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from cxr.pixels.image import ModelInput
from service.deadline import Clock, Deadline
from service.engines.protocol import Engine, OutputRow
from service.errors import DeadlineExceededError, InferenceFailedError
from service.images.preparation import PreparedImage
from service.scheduling.batch_queue import NOT_RUN
from service.scheduling.batcher import ENGINE_FAILED, NOT_FINITE, Batcher
from service.scheduling.core_pool import CorePool
from service.scheduling.in_flight import Load
from service.telemetry.course import Course
from service.telemetry.logs import log_event
from service.telemetry.observer import PREDICT, UNOBSERVED, Observer
from service.telemetry.stopwatch import DECODE, INFER, MS_PER_S, QUEUE

Prepare: TypeAlias = Callable[[], PreparedImage]
"""Decodes one image, on any thread."""


@dataclass(frozen=True)
class Passage:
    """What one image got on its way.

    Attributes:
        image: What was prepared of it.
        row: The engine's answer.
        queue_ms: How long it waited, for a core and for the engine.
        decode_ms: How long it was decoded.
        inference_ms: How long the run took that had it in its batch.
    """

    image: PreparedImage
    row: OutputRow
    queue_ms: float
    decode_ms: float
    inference_ms: float


class Lane(Protocol):
    """Decodes and runs images. Belongs to the event loop."""

    @property
    def load(self) -> Load:
        """What is under way on it."""

    @property
    def stalled_s(self) -> float:
        """Seconds for which nothing could get through it: all that runs was begun before."""

    async def read(
        self, prepare: Prepare, deadline: Deadline, course: Course | None = None
    ) -> Passage:
        """Decode and run one image; cancelled, it is dropped unless its work has begun.

        Args:
            prepare: Decodes it.
            deadline: Of its request.
            course: Is told how it goes, by the same clock as the lane's.

        Raises:
            InputError: It cannot be used.
            DeadlineExceededError: Its run had not begun before the deadline.
            InferenceFailedError: The engine failed, or gave no finite numbers.
        """

    async def stop(self) -> None:
        """Accept nothing more and finish what was accepted."""


class CoreLane:
    """For engines that run on the cores: one job decodes an image and runs it.

    Nothing is handed from thread to thread in between, and an image that is decoded is answered
    before another one is begun. Runs side by side on all cores beat batches there.

    Args:
        engine: Runs on one core, on several at a time.
        name: Of the model: its share of the pool.
        pool: The cores.
        load: Counts what is under way.
        observer: Is told of every image and run.
        clock: Gives seconds.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        pool: CorePool,
        load: Load,
        observer: Observer = UNOBSERVED,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.load = load
        self._observer = observer
        self._runs = observer.batches_of(name, PREDICT)
        self._engine = engine
        self._name = name
        self._pool = pool
        self._clock = clock

    @property
    def stalled_s(self) -> float:
        """Seconds for which no core has come back, see :class:`Lane`."""
        return self._pool.stalled_s

    async def read(
        self, prepare: Prepare, deadline: Deadline, course: Course | None = None
    ) -> Passage:
        """Decode and run one image, see :class:`Lane`."""
        accepted_s, is_waited_for = self._clock(), True
        course = course or Course(self._clock)

        def work() -> tuple[Passage, float]:
            begun_s = self._clock()
            course.add(QUEUE, accepted_s, begun_s)
            with course.stage(DECODE):
                image = prepare()
            decoded_s = self._clock()
            if deadline.is_over or not is_waited_for:
                raise DeadlineExceededError(NOT_RUN)
            course.batch_size = 1
            with course.stage(INFER):
                row = self._run(image.model_input)
            done_s = self._clock()
            passage = Passage(
                image,
                row,
                queue_ms=(begun_s - accepted_s) * MS_PER_S,
                decode_ms=(decoded_s - begun_s) * MS_PER_S,
                inference_ms=(done_s - decoded_s) * MS_PER_S,
            )
            return passage, done_s - begun_s

        try:
            passage, spent_s = await self._pool.run(
                work, deadline, flow=self._name, cost_s=self.load.charged_s
            )
        finally:
            is_waited_for = False
        self.load.core_item.add(spent_s)
        self._observer.image_decoded(passage.decode_ms / MS_PER_S)
        self._runs.batch_ran([passage.queue_ms / MS_PER_S], passage.inference_ms / MS_PER_S)
        return passage

    def _run(self, model_input: ModelInput) -> OutputRow:
        try:
            row = self._engine.run(model_input[np.newaxis]).row(0)
        except Exception as error:  # an engine's own
            log_event(logging.ERROR, "run failed", error, model=self._name)
            raise InferenceFailedError(ENGINE_FAILED) from None
        if not row.is_finite:
            raise InferenceFailedError(NOT_FINITE)
        return row

    async def stop(self) -> None:
        """Nothing to do: requests that are being answered are waited for elsewhere."""


class DeviceLane:
    """For an engine with a device of its own: the cores decode, and batches collect meanwhile.

    Args:
        name: Of the model: its share of the pool.
        pool: The cores.
        batcher: In front of the engine.
        load: Counts what is under way.
        observer: Is told of every image.
        clock: Gives seconds.
    """

    def __init__(
        self,
        name: str,
        pool: CorePool,
        batcher: Batcher[ModelInput, OutputRow],
        load: Load,
        observer: Observer = UNOBSERVED,
        clock: Clock = time.perf_counter,
    ) -> None:
        self.load = load
        self.batcher = batcher
        self._observer = observer
        self._name = name
        self._pool = pool
        self._clock = clock

    @property
    def stalled_s(self) -> float:
        """Seconds for which no core, or the device, has not come back, see :class:`Lane`."""
        return max(self._pool.stalled_s, self.batcher.running_s)

    async def read(
        self, prepare: Prepare, deadline: Deadline, course: Course | None = None
    ) -> Passage:
        """Decode and run one image, see :class:`Lane`."""
        accepted_s = self._clock()
        course = course or Course(self._clock)

        def work() -> tuple[PreparedImage, float, float]:
            begun_s = self._clock()
            course.add(QUEUE, accepted_s, begun_s)
            with course.stage(DECODE):
                image = prepare()
            return image, begun_s, self._clock()

        image, begun_s, decoded_s = await self._pool.run(
            work, deadline, flow=self._name, cost_s=self.load.charged_s
        )
        self.load.core_item.add(decoded_s - begun_s)
        self._observer.image_decoded(decoded_s - begun_s)
        [answer] = self.batcher.submit([image.model_input], deadline)
        output = await answer
        run_s = decoded_s + output.queue_ms / MS_PER_S  # the batcher has a clock of its own
        course.add(QUEUE, decoded_s, run_s)
        course.add(INFER, run_s, run_s + output.inference_ms / MS_PER_S)
        course.batch_size = output.batch_size
        self.load.device_item.add(self.batcher.mean_item_s)
        return Passage(
            image,
            output.row,
            queue_ms=(begun_s - accepted_s) * MS_PER_S + output.queue_ms,
            decode_ms=(decoded_s - begun_s) * MS_PER_S,
            inference_ms=output.inference_ms,
        )

    async def stop(self) -> None:
        """Run what waits, and end the engine's thread."""
        await self.batcher.stop()
