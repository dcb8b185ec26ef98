"""The way of an image through decoding and engine, on one core and over a device's queue."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from cxr.errors import UnreadableImageError
from service.deadline import Deadline
from service.engines.buckets import bucket_sizes
from service.errors import DeadlineExceededError, InferenceFailedError
from service.images.preparation import PreparedImage
from service.scheduling.admission import InFlight
from service.scheduling.batcher import Batcher
from service.scheduling.core_pool import CorePool
from service.scheduling.lane import (
    CoreJob,
    DeviceLane,
    EngineRunner,
    ReadImage,
    Waiter,
    read_all,
    read_together,
)
from service.telemetry.timeline import ImageTimeline, Timeline
from tests.service.conftest import make_settings
from tests.service.fake_engine import POISON, FakeEngine
from tests.service.harness import load_of, running, until
from tests.service.lane_work import make_core_lane, make_prepared, number_of
from tests.service.make_bundle import probabilities_of
from tests.service.make_images import make_png

pytestmark = pytest.mark.anyio

POISONED = 257 * POISON  # both of its pixels


class Decoding:
    """What decodes an image, held until let go."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.began, self.gate = threading.Event(), threading.Event()

    def __call__(self) -> PreparedImage:
        """Decode."""
        self.began.set()
        assert self.gate.wait(timeout=10)
        return make_prepared(self.number)


@pytest.fixture
def pool() -> Iterator[CorePool]:
    """One core."""
    one = CorePool(1)
    yield one
    one.close()


def soon() -> Deadline:
    """Give a deadline no test reaches."""
    return Deadline.after_ms(20_000)


def verify_own_answer(read: ReadImage, number: int) -> None:
    """See that an image got the answer its pixels have."""
    assert number_of(read.image) == number
    [expected] = probabilities_of(read.image.model_input[np.newaxis])
    np.testing.assert_allclose(read.row.probabilities, expected, atol=1e-6)


async def test_image_is_decoded_and_run(engine: FakeEngine, pool: CorePool) -> None:
    """In one job, and its durations are told and remembered."""
    lane = make_core_lane(engine, pool)
    timeline = ImageTimeline()
    verify_own_answer(await lane.read(lambda: make_prepared(300), ReadImage, soon(), timeline), 300)
    assert [stage.name for stage in timeline.stages] == ["queue", "decode", "queue", "infer"]
    assert timeline.batch_size == 1
    queued, *_, ran = timeline.stages
    spent_s = ran.ended_s - queued.ended_s
    assert spent_s <= lane.in_flight.core_item.value < spent_s + 0.1  # it is finished, too
    assert engine.batches == [1]


def test_images_that_are_done_together_get_their_own_answers(engine: FakeEngine) -> None:
    """In runs of the sizes that were warmed up; one that cannot be read leaves the others alone."""

    def fail() -> PreparedImage:
        raise UnreadableImageError("It is cut.")

    def job_of(prepare: Callable[[], PreparedImage]) -> CoreJob[ReadImage]:
        waiter = Waiter(soon())
        return CoreJob(
            engine, prepare, ReadImage, waiter, "a", time.perf_counter(), time.perf_counter
        )

    numbers = [300, 400, POISONED, 500]
    jobs = [job_of(partial(make_prepared, number)) for number in numbers]
    engine.poisoned = True
    reads = read_together([*jobs[:1], job_of(fail), *jobs[1:3]])
    assert [read.failure is None for read in reads] == [True, False, True, False]
    assert [read.batch_size for read in reads] == [2, 1, 2, 1]
    assert engine.batches == [2, 1]
    for read, number in zip((reads[0], reads[2]), (300, 400), strict=True):
        assert read.value is not None
        verify_own_answer(read.value, number)
    assert [len(read.batch_waits_s) for read in reads] == [2, 0, 0, 1]
    engine.fails = True
    failures = [read.failure for read in read_together(jobs)]
    assert {type(one.restore()) for one in failures if one is not None} == {InferenceFailedError}
    assert len(failures) == 4


async def test_image_is_answered_before_the_next_is_begun(
    engine: FakeEngine, pool: CorePool
) -> None:
    """On one core there is one image at a time between its bytes and its answer."""
    events: list[str] = []
    lane, run = make_core_lane(engine, pool), engine.run

    def noted(images: Any) -> Any:
        events.append("run")
        return run(images)

    def decode() -> PreparedImage:
        events.append("decode")
        return make_prepared(1)

    engine.run = noted  # type: ignore[method-assign]
    await asyncio.gather(*(lane.read(decode, ReadImage, soon(), ImageTimeline()) for _ in range(3)))
    assert events == ["decode", "run"] * 3


async def test_failing_engine_says_nothing_of_itself(
    engine: FakeEngine, pool: CorePool, caplog: pytest.LogCaptureFixture
) -> None:
    """The image fails without the exception's text, and the next one is answered."""
    lane = make_core_lane(engine, pool)
    engine.fails = True
    with (
        caplog.at_level(logging.ERROR),
        pytest.raises(InferenceFailedError) as caught,
    ):
        await lane.read(lambda: make_prepared(1), ReadImage, soon(), ImageTimeline())
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert [record.getMessage() for record in caplog.records] == ["run failed"]
    engine.fails = False
    verify_own_answer(
        await lane.read(lambda: make_prepared(2), ReadImage, soon(), ImageTimeline()), 2
    )


async def test_bad_and_not_finite_images_fail_alone(engine: FakeEngine, pool: CorePool) -> None:
    """Of one request, each in its place."""
    engine.poisoned = True
    lane = make_core_lane(engine, pool)

    def cut() -> PreparedImage:
        raise UnreadableImageError("It is cut.")

    decoding = [lambda: make_prepared(1), lambda: make_prepared(POISONED), cut]
    outcomes = await asyncio.gather(
        *(
            lane.read(one, ReadImage, soon(), ImageTimeline())
            for one in [*decoding, lambda: make_prepared(2)]
        ),
        return_exceptions=True,
    )
    kinds = [ReadImage, InferenceFailedError, UnreadableImageError, ReadImage]
    assert [type(outcome) for outcome in outcomes] == kinds
    assert len(engine.batches) == 3


async def test_client_gone_during_decoding_is_not_run(engine: FakeEngine, pool: CorePool) -> None:
    """Decoding cannot be stopped, but no run follows it."""
    lane, decoding = make_core_lane(engine, pool), Decoding(1)
    reading = asyncio.create_task(lane.read(decoding, ReadImage, soon(), ImageTimeline()))
    await until(decoding.began.is_set)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    decoding.gate.set()
    await lane.read(lambda: make_prepared(2), ReadImage, soon(), ImageTimeline())
    assert engine.batches == [1]


async def test_deadline_during_decoding_is_not_run(engine: FakeEngine, pool: CorePool) -> None:
    """The client is told at its deadline, and nothing is computed for it any more."""
    lane, decoding = make_core_lane(engine, pool), Decoding(1)
    async with asyncio.timeout(10):
        with pytest.raises(DeadlineExceededError):
            await lane.read(decoding, ReadImage, Deadline.after_ms(30), ImageTimeline())
    assert decoding.began.is_set()
    decoding.gate.set()
    await lane.read(lambda: make_prepared(2), ReadImage, soon(), ImageTimeline())
    assert engine.batches == [1]


async def test_request_holds_its_places_until_it_is_done(
    engine: FakeEngine, pool: CorePool
) -> None:
    """All its images count from the beginning; cancelled, none does."""
    lane, decoding = make_core_lane(engine, pool), Decoding(1)
    images = [(decoding, ReadImage), (lambda: make_prepared(2), ReadImage)]
    reading = asyncio.create_task(read_all(lane, images, soon(), Timeline().add_images(2)))
    await until(decoding.began.is_set)
    assert lane.in_flight.images == 2
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert lane.in_flight.images == 0
    decoding.gate.set()
    await lane.read(lambda: make_prepared(3), ReadImage, soon(), ImageTimeline())
    assert engine.batches == [1]


async def test_stages_told_are_those_of_the_longest_image(
    engine: FakeEngine, pool: CorePool
) -> None:
    """Decoding on its thread, and the wait of the image that waited longest."""
    lane, slow = make_core_lane(engine, pool), Decoding(1)
    now_s = [0.0]
    timeline = Timeline(clock=lambda: now_s[0])
    images = [(slow, ReadImage), (lambda: make_prepared(2), ReadImage)]
    reading = asyncio.create_task(read_all(lane, images, soon(), timeline.add_images(2)))
    await until(slow.began.is_set)
    now_s[0] = 0.25
    slow.gate.set()
    await reading
    assert timeline.spent_s() == {"queue": 0.25, "decode": 0.25, "infer": 0.0}


async def test_device_gets_batches_of_what_was_decoded_meanwhile(
    engine: FakeEngine, pool: CorePool
) -> None:
    """Images that come during a run share the next, each with its own answer."""
    batcher = Batcher(
        EngineRunner(engine, bucket_sizes(4)), max_batch=4, batch_window_s=0.0, queue_capacity=8
    )
    batcher.start()
    lane = DeviceLane("model", pool, batcher, InFlight(12))
    engine.gate.clear()

    def reading(number: int) -> asyncio.Task[ReadImage]:
        return asyncio.create_task(
            lane.read(lambda: make_prepared(number), ReadImage, soon(), ImageTimeline())
        )

    readings = [reading(1)]
    await until(lambda: engine.entered.acquire(blocking=False))
    readings += [reading(number) for number in (300, 40, 500)]
    await until(lambda: batcher.depth == 3)
    engine.gate.set()
    for read, number in zip(await asyncio.gather(*readings), (1, 300, 40, 500), strict=True):
        verify_own_answer(read, number)
    assert engine.batches == [1, 4]
    assert lane.in_flight.device_item.value > 0
    await lane.stop()


async def test_image_of_a_gone_client_leaves_the_core(engine: FakeEngine, bundles: Any) -> None:
    """Through the whole service, for an engine that runs on the cores."""
    engine.runs_on_cores = True
    async with running(make_settings(bundles), engine.build) as service:
        engine.forget()
        engine.gate.clear()
        pool, load = service.runtime.pool, load_of(service)
        first = asyncio.create_task(service.client.post("/v1/predict", content=make_png()))
        await until(lambda: engine.entered.acquire(blocking=False))
        gone = asyncio.create_task(service.client.post("/v1/predict", content=make_png()))
        await until(lambda: pool.waiting == 1)
        assert load.images == 2
        gone.cancel()
        await until(lambda: load.images == 1)
        engine.gate.set()
        assert (await first).status_code == 200
        assert (await service.client.post("/v1/predict", content=make_png())).status_code == 200
        assert load.images == 0
    assert engine.batches == [1, 1]
