"""From the bytes of one model's images to the engine's answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxr.pixels.image import ModelInput
from service.deadline import Deadline
from service.engines.buckets import stack_padded
from service.engines.protocol import Engine, EngineOutput, OutputRow, StagingEngine
from service.errors import DeadlineExceededError, InferenceFailedError
from service.images.preparation import PreparedImage
from service.scheduling.admission import InFlight
from service.scheduling.batch_queue import NOT_RUN
from service.scheduling.batcher import ENGINE_FAILED, NOT_FINITE, Batcher, Run
from service.scheduling.core_pool import CorePool
from service.telemetry.logs import log_event
from service.telemetry.recorder import NULL_RECORDER, PREDICT, Recorder
from service.telemetry.timeline import DECODE, INFER, MS_PER_S, QUEUE, ImageTimeline, Stage

Prepare: TypeAlias = Callable[[], PreparedImage]
"""Decodes one image, on any thread."""


@dataclass(frozen=True, slots=True)
class ReadImage:
    """One image with what the engine answered for it."""

    image: PreparedImage
    row: OutputRow


class Lane(Protocol):
    """Decodes and runs images. Belongs to the event loop."""

    @property
    def in_flight(self) -> InFlight:
        """The work that is under way."""

    @property
    def stalled_s(self) -> float:
        """Seconds for which nothing could get through: all that runs began before."""

    async def read(
        self, prepare: Prepare, deadline: Deadline, timeline: ImageTimeline
    ) -> ReadImage:
        """Decode and run one image; cancelled, it is dropped unless its work has begun.

        Raises:
            InputError: It cannot be used.
            DeadlineExceededError: Its run had not begun before the deadline.
            InferenceFailedError: The engine failed, or returned numbers that are not finite.
        """

    async def stop(self) -> None:
        """Accept nothing more and finish what was accepted."""


async def read_all(
    lane: Lane,
    prepare: Sequence[Prepare],
    deadline: Deadline,
    timelines: Sequence[ImageTimeline],
) -> list[ReadImage | Exception]:
    """Read the images of a request side by side; each fails on its own.

    If the caller is cancelled, work that has not begun is dropped.

    Raises:
        QueueFullError: There is no room for all of them; nothing was queued.
        CancelledError: One of them was cancelled.
    """
    lane.in_flight.verify_room(len(prepare))
    lane.in_flight.images += len(prepare)
    try:
        read = await asyncio.gather(
            *(
                lane.read(one, deadline, timeline)
                for one, timeline in zip(prepare, timelines, strict=True)
            ),
            return_exceptions=True,
        )
    finally:
        lane.in_flight.images -= len(prepare)
    outcomes: list[ReadImage | Exception] = []
    for outcome in read:
        if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
            raise outcome
        outcomes.append(outcome)
    return outcomes


class CoreLane:
    """For engines that run on the cores: one job decodes an image and runs it.

    Nothing is handed from thread to thread in between, and an image that is decoded is answered
    before another one is begun. Runs side by side on all cores beat batches there. ``name``, of the
    model, is its share of the pool.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        pool: CorePool,
        in_flight: InFlight,
        recorder: Recorder = NULL_RECORDER,
    ) -> None:
        self.in_flight = in_flight
        self._recorder = recorder
        self._engine = engine
        self._name = name
        self._pool = pool

    @property
    def stalled_s(self) -> float:
        """Seconds for which no core has come back."""
        return self._pool.stalled_s

    async def read(
        self, prepare: Prepare, deadline: Deadline, timeline: ImageTimeline
    ) -> ReadImage:
        """Decode and run one image, see :class:`Lane`."""
        clock, is_waited_for = timeline.clock, True
        accepted_s = clock()

        def work() -> ReadImage:
            timeline.stages.append(Stage(QUEUE, accepted_s, clock()))
            with timeline.stage(DECODE):
                image = prepare()
            if deadline.is_over or not is_waited_for:
                raise DeadlineExceededError(NOT_RUN)
            timeline.batch_size = 1
            with timeline.stage(INFER):
                return ReadImage(image, self._run(image.model_input))

        try:
            read = await self._pool.run(
                work, deadline, flow=self._name, cost_s=self.in_flight.charged_s
            )
        finally:
            is_waited_for = False
        queued, _, ran = timeline.stages
        self.in_flight.core_item.add(ran.ended_s - queued.ended_s)
        waited_s, run_s = queued.ended_s - queued.started_s, ran.ended_s - ran.started_s
        self._recorder.batch_ran(self._name, PREDICT, (waited_s,), run_s)
        return read

    def _run(self, model_input: ModelInput) -> OutputRow:
        try:
            output = self._engine.run(model_input[np.newaxis])
        except Exception as error:  # an engine's own
            log_event(logging.ERROR, "run failed", error, model=self._name)
            raise InferenceFailedError(ENGINE_FAILED) from None
        row = row_of(output, 0)
        if isinstance(row, InferenceFailedError):
            raise row
        return row

    async def stop(self) -> None:
        """Do nothing: requests that are being answered are waited for elsewhere."""


@dataclass(frozen=True)
class EngineRunner:
    """Lets a batcher run an engine; a row that is not finite fails alone."""

    engine: Engine
    buckets: tuple[int, ...]

    def form(self, payloads: Sequence[ModelInput]) -> Run[OutputRow]:
        """Stack model inputs of shape (1, S, S), uint8."""
        engine = self.engine
        new_batch = engine.new_batch if isinstance(engine, StagingEngine) else None
        batch = stack_padded(payloads, self.buckets, new_batch)
        return partial(self._run, batch, len(payloads))

    def prepare_thread(self) -> None:
        """An engine needs nothing of its thread."""

    def _run(self, batch: NDArray[np.uint8], count: int) -> list[OutputRow | InferenceFailedError]:
        output = self.engine.run(batch)
        return [row_of(output, index) for index in range(count)]


def row_of(output: EngineOutput, index: int) -> OutputRow | InferenceFailedError:
    """Return one image's part of a run, or why it has none: a number is not finite."""
    parts = (output.logits[index], output.probabilities[index], output.embedding[index])
    if all(np.isfinite(part).all() for part in parts):
        return OutputRow(*parts)
    return InferenceFailedError(NOT_FINITE)


class DeviceLane:
    """For an engine with a device of its own: the cores decode, and batches collect meanwhile."""

    def __init__(
        self,
        name: str,
        pool: CorePool,
        batcher: Batcher[ModelInput, OutputRow],
        in_flight: InFlight,
    ) -> None:
        self.in_flight = in_flight
        self.batcher = batcher
        self._name = name
        self._pool = pool

    @property
    def stalled_s(self) -> float:
        """Seconds for which no core, or the device, has not come back."""
        return max(self._pool.stalled_s, self.batcher.running_s)

    async def read(
        self, prepare: Prepare, deadline: Deadline, timeline: ImageTimeline
    ) -> ReadImage:
        """Decode and run one image, see :class:`Lane`."""
        accepted_s = timeline.clock()

        def decode() -> PreparedImage:
            timeline.stages.append(Stage(QUEUE, accepted_s, timeline.clock()))
            with timeline.stage(DECODE):
                return prepare()

        image = await self._pool.run(
            decode, deadline, flow=self._name, cost_s=self.in_flight.charged_s
        )
        decoded = timeline.stages[-1]
        self.in_flight.core_item.add(decoded.ended_s - decoded.started_s)
        [answer] = self.batcher.submit([image.model_input], deadline)
        output = await answer
        # The batcher has a clock of its own.
        run_s = decoded.ended_s + output.queue_ms / MS_PER_S
        timeline.stages += [
            Stage(QUEUE, decoded.ended_s, run_s),
            Stage(INFER, run_s, run_s + output.inference_ms / MS_PER_S),
        ]
        timeline.batch_size = output.batch_size
        self.in_flight.device_item.add(self.batcher.mean_item_s)
        return ReadImage(image, output.row)

    async def stop(self) -> None:
        """Run what waits, and end the engine's thread."""
        await self.batcher.stop()
