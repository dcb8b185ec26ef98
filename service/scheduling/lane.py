"""From the bytes of one model's images to the engine's answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, Protocol, TypeAlias, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from cxr.errors import CxrError
from cxr.pixels.image import ModelInput
from service.deadline import Clock, Deadline
from service.engines.buckets import bucket_sizes, stack_padded
from service.engines.protocol import Engine, EngineOutput, OutputRow, StagingEngine
from service.errors import DeadlineExceededError, Failure, InferenceFailedError
from service.images.preparation import PreparedImage
from service.scheduling.admission import InFlight
from service.scheduling.batch_queue import NOT_RUN
from service.scheduling.batcher import ENGINE_FAILED, NOT_FINITE, Batcher, Run
from service.scheduling.cores import Batching, Cores
from service.telemetry.logs import log_event
from service.telemetry.recorder import NULL_RECORDER, PREDICT, Recorder
from service.telemetry.timeline import DECODE, INFER, MS_PER_S, QUEUE, ImageTimeline, Stage, Stages

T = TypeVar("T")

Prepare: TypeAlias = Callable[[], PreparedImage]
"""Decodes one image, on any core."""

Finish: TypeAlias = Callable[[PreparedImage, OutputRow], T]
"""Makes what is wanted of an image and of what the engine answered for it, on any core."""


@dataclass(frozen=True, slots=True)
class ReadImage:
    """One image with what the engine answered for it: a way to finish."""

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
        self, prepare: Prepare, finish: Finish[T], deadline: Deadline, timeline: ImageTimeline
    ) -> T:
        """Decode, run and finish one image; cancelled, it is dropped unless its work has begun.

        Raises:
            InputError: It cannot be used.
            DeadlineExceededError: Its run had not begun before the deadline.
            InferenceFailedError: The engine failed, or returned numbers that are not finite.
        """

    async def stop(self) -> None:
        """Accept nothing more and finish what was accepted."""


async def read_all(
    lane: Lane,
    images: Sequence[tuple[Prepare, Finish[T]]],
    deadline: Deadline,
    timelines: Sequence[ImageTimeline],
) -> list[T | Exception]:
    """Read the images of a request side by side; each fails on its own.

    If the caller is cancelled, work that has not begun is dropped.

    Raises:
        QueueFullError: There is no room for all of them; nothing was queued.
        CancelledError: One of them was cancelled.
    """
    lane.in_flight.verify_room(len(images))
    lane.in_flight.images += len(images)
    try:
        if len(images) == 1:
            [(prepare, finish)], [timeline] = images, timelines
            return [await _read_alone(lane, prepare, finish, deadline, timeline)]
        read = [
            _read_alone(lane, prepare, finish, deadline, timeline)
            for (prepare, finish), timeline in zip(images, timelines, strict=True)
        ]
        return await asyncio.gather(*read)
    finally:
        lane.in_flight.images -= len(images)


async def _read_alone(
    lane: Lane,
    prepare: Prepare,
    finish: Finish[T],
    deadline: Deadline,
    timeline: ImageTimeline,
) -> T | Exception:
    try:
        return await lane.read(prepare, finish, deadline, timeline)
    except Exception as error:
        return error


class CoreLane:
    """For engines that run on the cores: one job decodes an image and runs it.

    Nothing is handed from thread to thread in between. A pool may have one core do several that
    wait: while it decodes, the weights are cold, so a batch is quicker though its run alone is
    not. ``name``, of the model, is its share of the pool.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        pool: Cores,
        in_flight: InFlight,
        recorder: Recorder = NULL_RECORDER,
    ) -> None:
        self.in_flight = in_flight
        self._recorder = recorder
        self._engine = engine
        self._name = name
        self._pool = pool
        self._batching = Batching(read_together, engine.max_batch)

    @property
    def stalled_s(self) -> float:
        """Seconds for which no core has come back."""
        return self._pool.stalled_s

    async def read(
        self, prepare: Prepare, finish: Finish[T], deadline: Deadline, timeline: ImageTimeline
    ) -> T:
        """Decode, run and finish one image, see :class:`Lane`."""
        clock, waiter = timeline.clock, Waiter(deadline)
        job = CoreJob(self._engine, prepare, finish, waiter, self._name, clock(), clock)
        try:
            read = await self._pool.run(
                job,
                deadline,
                flow=self._name,
                cost_s=self.in_flight.charged_s,
                batching=self._batching,
            )
        finally:
            waiter.is_gone = True
        timeline.stages += _with_waits(job.accepted_s, read.stages)
        if read.batch_waits_s:
            ran_s = sum(stage.ended_s - stage.started_s for stage in read.stages[1:])
            self._recorder.batch_ran(self._name, PREDICT, read.batch_waits_s, ran_s)
        if read.failure is not None:
            raise read.failure.restore()
        timeline.batch_size = read.batch_size
        self.in_flight.core_item.add(read.share_s)
        return cast("T", read.value)

    async def stop(self) -> None:
        """Do nothing: requests that are being answered are waited for elsewhere."""


@dataclass
class Waiter:
    """Whoever waits for an image. Another process is not told when he goes away."""

    deadline: Deadline
    is_gone: bool = False


@dataclass(frozen=True)
class CoreRead(Generic[T]):
    """What a core made of one image.

    Attributes:
        stages: Of its decoding and its run, as far as it came.
        value: What its job was to make.
        failure: Why there is none.
        batch_size: Images of its run.
        share_s: Its share of the core's time, in seconds.
        batch_waits_s: Of the first image of each run, how long each of that run had waited until
            it began.
    """

    stages: tuple[Stage, ...]
    value: T | None = None
    failure: Failure | None = None
    batch_size: int = 1
    share_s: float = 0.0
    batch_waits_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class CoreJob(Generic[T]):
    """One image to be decoded, run and finished: any thread, and any process with the engine.

    ``accepted_s`` is when it came, by ``clock``.
    """

    engine: Engine
    prepare: Prepare
    finish: Finish[T]
    waiter: Waiter
    model: str
    accepted_s: float
    clock: Clock

    def __call__(self) -> CoreRead[T]:
        """Do it."""
        [read] = read_together([self])
        return read


def read_together(jobs: Sequence[CoreJob[T]]) -> list[CoreRead[T]]:
    """Do the jobs of one engine: decode all, run them in batches, finish all."""
    clock, engine = jobs[0].clock, jobs[0].engine
    assert all(job.engine is engine for job in jobs), "they are of one version"
    begun_s = clock()
    decoded = [_decode(job) for job in jobs]
    reads: dict[int, CoreRead[T]] = {}
    ready: list[tuple[int, PreparedImage]] = []
    for index, read in enumerate(decoded):
        if read.value is None:
            reads[index] = CoreRead(read.stages, failure=read.failure)
        else:
            ready.append((index, read.value))
    for part in _split(ready, bucket_sizes(engine.max_batch)):
        started_s = clock()
        rows = _run(engine, [image.model_input for _, image in part], jobs[0].model)
        ran = Stage(INFER, started_s, clock())
        waits_s = tuple(started_s - jobs[index].accepted_s for index, _ in part)
        for (index, image), row in zip(part, rows, strict=True):
            finished = _finish(jobs[index], (*decoded[index].stages, ran), image, row)
            reads[index] = replace(finished, batch_size=len(part), batch_waits_s=waits_s)
            waits_s = ()
    share_s = (clock() - begun_s) / len(jobs)
    return [replace(reads[index], share_s=share_s) for index in range(len(jobs))]


def _decode(job: CoreJob[Any]) -> CoreRead[PreparedImage]:
    """Decode one image that somebody waits for afterwards, too."""
    read = decode_on_core(job.prepare, job.clock)
    if read.value is not None and (job.waiter.is_gone or job.waiter.deadline.is_over):
        return CoreRead(read.stages, failure=Failure.of(DeadlineExceededError(NOT_RUN)))
    return read


def _split(items: Sequence[T], buckets: Sequence[int]) -> Iterator[Sequence[T]]:
    """Split items into runs of the largest sizes that were warmed up."""
    start = 0
    while left := len(items) - start:
        size = max(bucket for bucket in buckets if bucket <= left)
        yield items[start : start + size]
        start += size


def _run(
    engine: Engine, inputs: Sequence[ModelInput], model: str
) -> list[OutputRow | InferenceFailedError]:
    try:
        output = engine.run(np.stack(inputs))
    except Exception as error:  # an engine's own
        log_event(logging.ERROR, "run failed", error, model=model)
        return [InferenceFailedError(ENGINE_FAILED)] * len(inputs)
    return [row_of(output, index) for index in range(len(inputs))]


def _finish(
    job: CoreJob[T],
    stages: tuple[Stage, ...],
    image: PreparedImage,
    row: OutputRow | InferenceFailedError,
) -> CoreRead[T]:
    try:
        if isinstance(row, InferenceFailedError):
            raise row
        return CoreRead(stages, job.finish(image, row))
    except CxrError as error:
        return CoreRead(stages, failure=Failure.of(error))


def _with_waits(accepted_s: float, stages: Sequence[Stage]) -> Iterator[Stage]:
    """Put the waits between an image's stages, which others of its batch took."""
    for stage in stages:
        if stage.started_s > accepted_s:
            yield Stage(QUEUE, accepted_s, stage.started_s)
        yield stage
        accepted_s = stage.ended_s


def decode_on_core(prepare: Prepare, clock: Clock) -> CoreRead[PreparedImage]:
    """Decode one image. Any thread, and any process."""
    stages = Stages(clock)
    try:
        with stages.stage(DECODE):
            image = prepare()
        return CoreRead(tuple(stages.stages), image)
    except CxrError as error:
        return CoreRead(tuple(stages.stages), failure=Failure.of(error))


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
        pool: Cores,
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
        self, prepare: Prepare, finish: Finish[T], deadline: Deadline, timeline: ImageTimeline
    ) -> T:
        """Decode, run and finish one image, see :class:`Lane`."""
        clock = timeline.clock
        accepted_s = clock()
        read = await self._pool.run(
            partial(decode_on_core, prepare, clock),
            deadline,
            flow=self._name,
            cost_s=self.in_flight.charged_s,
        )
        [decoded] = read.stages
        timeline.stages += (Stage(QUEUE, accepted_s, decoded.started_s), decoded)
        if read.failure is not None:
            raise read.failure.restore()
        image = cast("PreparedImage", read.value)
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
        return finish(image, output.row)

    async def stop(self) -> None:
        """Run what waits, and end the engine's thread."""
        await self.batcher.stop()
