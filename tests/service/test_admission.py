"""Admission by predicted finish: whose work counts, and for how much."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.deadline import Deadline
from service.errors import QueueFullError
from service.scheduling.admission import Admission, InFlight, MovingMean
from tests.service.conftest import make_settings
from tests.service.fake_engine import FakeEngine
from tests.service.harness import Running, load_of, running, until
from tests.service.make_images import make_png

CORES = 2


def make_load(under_way: int = 0, core_s: float = 0.02, device_s: float = 0.0) -> InFlight:
    """Make a load of images that take so long each."""
    load = InFlight(capacity=200)
    load.images = under_way
    load.core_item.value = core_s
    load.device_item.value = device_s
    return load


def soon(life_ms: float = 10_000) -> Deadline:
    """Give a deadline so far ahead."""
    return Deadline.after_ms(life_ms)


def test_idle_service_admits() -> None:
    """Before anything was measured, too."""
    Admission(0.2, CORES).verify(make_load(), [make_load()], soon())
    Admission(0.2, CORES).verify(make_load(core_s=0.0), [make_load(core_s=0.0)], soon())


def test_long_wait_is_refused_with_an_honest_time() -> None:
    """Retry-After is when the work ahead should be done, or a second later."""
    load = make_load(under_way=50, core_s=0.1)
    with pytest.raises(QueueFullError) as caught:
        Admission(2.4, CORES).verify(load, [], soon())
    assert caught.value.retry_after_s in (3, 4)
    Admission(2.6, CORES).verify(load, [], soon())


def test_nothing_waits_while_a_core_is_free() -> None:
    """However long the images at work are expected to take."""
    others = [make_load(0, 9.0), make_load(CORES - 1, 9.0)]
    assert Admission(0.2, CORES).expected_wait_s(make_load(0, 9.0), others) == 0.0
    assert Admission(0.2, CORES).expected_wait_s(make_load(CORES, 9.0), []) > 1.0


def test_one_costly_image_does_not_speak_for_all() -> None:
    """A hostile file of two seconds among sound ones of twenty milliseconds."""
    mean = MovingMean(0.1)
    for _ in range(20):
        mean.add(0.02)
    mean.add(2.0)
    assert mean.value < 0.04
    for _ in range(100):  # but what is always slow is soon known to be
        mean.add(2.0)
    assert mean.value > 1.9


@pytest.mark.parametrize(
    ("load", "others", "wait_s"),
    [
        (make_load(10, 0.1), [], 0.5),
        (make_load(0, 0.1), [], 0.0),
        (make_load(0, 0.1), [make_load(100, 0.1)], 0.05),
        (make_load(0, 0.1), [make_load(100, 0.1), make_load(100, 3.0)], 0.1),
        (make_load(10, 0.1), [make_load(100, 0.1)], 1.05),
        (make_load(10, 0.1), [make_load(2, 0.1)], 0.6),
        (make_load(10, 0.1, device_s=0.2), [], 2.0),
        (make_load(10, 0.1, device_s=0.01), [make_load(0, 0.1, device_s=9.0)], 0.5),
        (make_load(10, 0.1), [make_load(2, 0.1, device_s=9.0)], 0.6),
    ],
    ids=[
        "its own work, on all cores",
        "idle",
        "idle beside a flood: one image of it",
        "idle beside two floods: as much time of each",
        "busy beside a flood: as much again, and its next image",
        "busy beside little: all of that",
        "a slow device: its own is longer than the cores'",
        "a quick device",
        "another model's device is not its own",
    ],
)
def test_wait_is_the_fair_share_of_the_work_ahead(
    load: InFlight, others: list[InFlight], wait_s: float
) -> None:
    """Another model's work counts only as far as its share goes until one's own is done."""
    assert Admission(0.2, CORES).expected_wait_s(load, others) == pytest.approx(wait_s)


def test_idle_model_is_admitted_beside_a_flooded_one() -> None:
    """Which is refused itself."""
    admission, flooded, idle = Admission(0.2, CORES), make_load(100, 0.1), make_load(0, 0.1)
    admission.verify(idle, [flooded], soon())
    with pytest.raises(QueueFullError):
        admission.verify(flooded, [idle], soon())


@pytest.mark.anyio
async def test_bodies_being_read_count() -> None:
    """A crowd at the door is seen before its images are in any queue."""
    admission, load = Admission(0.015, CORES), make_load()
    with load.receiving(9.0):
        admission.verify(load, [], soon())
        with load.receiving(9.0), pytest.raises(QueueFullError):
            admission.verify(load, [], soon())
    assert load.arriving == 0


@pytest.mark.anyio
async def test_slow_bodies_stop_counting() -> None:
    """Who sends slowly does not keep others out, and is not counted off twice."""
    load = make_load()
    with load.receiving(9.0):
        with load.receiving(0.01):
            assert load.arriving == 2
            await until(lambda: load.arriving == 1)
        assert load.arriving == 1
        with load.receiving(9.0):
            assert load.arriving == 2
    assert load.arriving == 0


@pytest.mark.anyio
async def test_failed_body_stops_counting() -> None:
    """A client that goes away while sending leaves nothing behind."""
    load = make_load()
    with pytest.raises(ConnectionError), load.receiving(9.0):
        raise ConnectionError
    assert load.arriving == 0


@pytest.mark.parametrize(
    ("load", "life_ms", "images", "fits"),
    [
        (make_load(), 1_100, 100, True),
        (make_load(), 900, 100, False),
        (make_load(device_s=0.05), 5_100, 100, True),
        (make_load(device_s=0.05), 4_900, 100, False),
        (make_load(core_s=0.3, device_s=0.3), 500, 1, False),
        (make_load(core_s=0.3, device_s=0.3), 700, 1, True),
        (make_load(10), 1_100, 100, True),
        (make_load(10), 1_050, 100, False),
    ],
    ids=["cores", "cores, late", "device", "device, late", "one", "one, late", "ahead", "behind"],
)
def test_what_would_miss_its_deadline_is_refused(
    load: InFlight, life_ms: float, images: int, fits: bool
) -> None:
    """A hundred images of 20 ms on two cores take a second, beside what is ahead of them."""
    deadline = Deadline(life_ms / 1000, lambda: 0.0)
    admission = Admission(10.0, CORES)
    if fits:
        admission.verify(load, [], deadline, images)
        return
    with pytest.raises(QueueFullError):
        admission.verify(load, [], deadline, images)


def test_room_is_all_or_none() -> None:
    """What does not fit as a whole leaves nothing behind."""
    load = make_load(under_way=198)
    load.verify_room(2)
    with pytest.raises(QueueFullError) as caught:
        load.verify_room(3)
    assert (caught.value.retry_after_s in (4, 5), load.images) == (True, 198)


async def body_that_tells(read: list[int]) -> AsyncIterator[bytes]:
    """Give a body that remembers that it was read."""
    read.append(1)
    yield make_png()


async def verify_refused(service: Running, path: str) -> None:
    """See that a request is refused and nothing of it was read."""
    read: list[int] = []
    refused = await service.client.post(path, content=body_that_tells(read))
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert not read


@pytest.mark.anyio
@pytest.mark.parametrize("runs_on_cores", [False, True], ids=["device", "cores"])
async def test_crowded_service_refuses_before_the_body_is_read(
    bundles: Path, engine: FakeEngine, runs_on_cores: bool
) -> None:
    """Once it is known how long images take, who would wait too long is told at the door."""
    engine.runs_on_cores = runs_on_cores
    async with running(make_settings(bundles, max_wait_ms=20), engine.build) as service:
        engine.forget()
        load = load_of(service)
        measured = load.core_item if runs_on_cores else load.device_item
        for path in ("/v1/predict", "/v2/models/resnet18/infer"):
            engine.gate.clear()
            first = asyncio.create_task(service.client.post("/v1/predict", content=make_png(90)))
            await until(lambda: engine.entered.acquire(blocking=False))
            measured.value = 0.5  # as if measured
            await verify_refused(service, path)
            engine.gate.set()
            assert (await first).status_code == 200
        assert (await service.client.post("/v1/predict", content=make_png(90))).status_code == 200


@pytest.mark.anyio
@pytest.mark.parametrize("runs_on_cores", [False, True], ids=["device", "cores"])
async def test_images_still_to_be_decoded_count_with_their_run(
    bundles: Path, engine: FakeEngine, runs_on_cores: bool
) -> None:
    """No engine has them yet; another model, idle, is still admitted."""
    engine.runs_on_cores = runs_on_cores
    limits: dict[str, Any] = {"models": "", "max_wait_ms": 1_000}
    async with running(make_settings(bundles, **limits), engine.build) as service:
        engine.forget()
        gate = threading.Event()
        held = service.runtime.pool.submit(gate.wait)
        await until(held.running)
        load = load_of(service)
        files = [("files", make_png())] * 3
        first = asyncio.create_task(service.client.post("/v1/predict", files=files))
        await until(lambda: service.runtime.pool.waiting == 3)
        assert engine.batches == []
        (load.core_item if runs_on_cores else load.device_item).value = 0.4
        load_of(service, "cnn").core_item.value = 0.4
        await verify_refused(service, "/v1/predict")
        other = asyncio.create_task(
            service.client.post("/v1/predict?model=cnn", content=make_png())
        )
        await until(lambda: service.runtime.pool.waiting == 4)
        # Busy itself, it has the other's work ahead, too, as far as its share goes.
        load.core_item.value = 0.4
        await verify_refused(service, "/v1/predict?model=cnn")
        gate.set()
        assert [(await one).status_code for one in (first, other)] == [200, 200]
