"""Admission by predicted finish, and the pool of cores."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.deadline import Deadline
from service.errors import QueueFullError
from service.inference.admission import Admission
from service.inference.core_pool import CorePool, Urgency
from tests.service.conftest import make_settings
from tests.service.fake_engine import FakeEngine
from tests.service.harness import running, until
from tests.service.make_images import make_png


@dataclass
class Stage:
    """A stage with work ahead."""

    backlog_s: float = 0.0
    mean_item_s: float = 0.02
    concurrency: int = 2


def soon(life_ms: float = 10_000) -> Deadline:
    return Deadline.after_ms(life_ms)


def test_idle_service_admits() -> None:
    """Before anything was measured, too."""
    Admission(0.2).verify([Stage(), Stage()], soon())
    Admission(0.2).verify([Stage(mean_item_s=0.0), Stage(mean_item_s=0.0)], soon())


def test_long_wait_is_refused_with_an_honest_time() -> None:
    """The work of all stages counts; Retry-After is when it should be done, or a second later."""
    stages = [Stage(0.9), Stage(1.3), Stage(0.3)]
    with pytest.raises(QueueFullError) as caught:
        Admission(0.2).verify(stages, soon())
    assert caught.value.retry_after_s in (3, 4)
    Admission(2.6).verify(stages, soon())


def test_bodies_being_read_count() -> None:
    """A crowd at the door is seen before its images are in any queue."""
    admission, stages = Admission(0.05), [Stage(), Stage()]
    with admission.body_being_read(), admission.body_being_read():
        admission.verify(stages, soon())
        with admission.body_being_read(), pytest.raises(QueueFullError):
            admission.verify(stages, soon())
    assert admission.reading == 0


def test_what_would_miss_its_deadline_is_refused() -> None:
    """A hundred images of 20 ms on two cores take two seconds."""
    admission, stages = Admission(10.0), [Stage(), Stage()]
    admission.verify(stages, soon(2_500), images=100)
    with pytest.raises(QueueFullError):
        admission.verify(stages, soon(1_500), images=100)


def test_pool_begins_the_most_urgent_first() -> None:
    """Of what waits, runs come before decoding, and the older before the younger."""
    pool, gate, order = CorePool(1), threading.Event(), []
    first = pool.submit(Urgency.DECODE, gate.wait)
    jobs = [
        pool.submit(urgency, lambda name=name: order.append(name))
        for urgency, name in (
            (Urgency.DECODE, "d1"),
            (Urgency.RUN, "r1"),
            (Urgency.DECODE, "d2"),
            (Urgency.RUN, "r2"),
        )
    ]
    jobs[2].cancel()
    gate.set()
    first.result(timeout=10)
    for job in (jobs[0], jobs[1], jobs[3]):
        job.result(timeout=10)
    assert order == ["r1", "r2", "d1"]
    pool.close()


def test_pool_tells_of_failures_and_goes_on() -> None:
    """A job that raises ends neither its thread nor the pool; a closed pool takes nothing."""
    pool = CorePool(1)
    with pytest.raises(ZeroDivisionError):
        pool.submit(Urgency.RUN, lambda: 1 / 0).result(timeout=10)
    assert pool.submit(Urgency.RUN, lambda: 7).result(timeout=10) == 7
    pool.close()
    with pytest.raises(RuntimeError):
        pool.submit(Urgency.RUN, lambda: 7)


async def body_that_tells(read: list[int]) -> AsyncIterator[bytes]:
    """Give a body that remembers that it was read."""
    read.append(1)
    yield make_png()


@pytest.mark.anyio
async def test_crowded_service_refuses_before_the_body_is_read(
    bundles: Path, engine: FakeEngine
) -> None:
    """Once it is known how long images take, who would wait too long is told at the door."""
    async with running(make_settings(bundles, max_wait_ms=1), engine.build) as service:
        engine.forget()
        for path in ("/v1/predict", "/v2/models/resnet18/infer"):
            engine.gate.set()
            batcher = service.runtime.models.get(None).batcher
            batcher._item_s.add(0.5)  # as if measured
            engine.gate.clear()
            first = asyncio.create_task(service.client.post("/v1/predict", content=make_png(90)))
            await until(lambda: engine.entered.acquire(blocking=False))
            read: list[int] = []
            refused = await service.client.post(path, content=body_that_tells(read))
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert not read
            engine.gate.set()
            assert (await first).status_code == 200
        assert (await service.client.post("/v1/predict", content=make_png(90))).status_code == 200
