"""Engines that raise, run out of memory, give no numbers, or never come back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.engines.protocol import EngineOutput
from tests.chaos.aftermath import verify_unharmed
from tests.service.conftest import make_settings
from tests.service.fake_engine import POISON, FakeEngine
from tests.service.harness import Running, running, until
from tests.service.make_images import make_flat_png, make_png

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("waits")]

PREDICT = "/v1/predict"
REQUESTS = 12


@dataclass
class FaultyEngine(FakeEngine):
    """Fails for one picture: whatever it raises, or NaN, whenever that is in a batch.

    Attributes:
        error: Raised for the picture of the grey level ``POISON``; None gives NaN.
    """

    error: Exception | None = None

    def run(self, images: NDArray[np.uint8]) -> EngineOutput:
        """Answer as ``Engine.run`` does."""
        self.poisoned = self.error is None
        if self.error is not None and (images == POISON).all(axis=(1, 2, 3)).any():
            raise self.error
        return super().run(images)


@pytest.fixture(params=[True, False], ids=["on cores", "on a device"])
async def faulty(
    request: pytest.FixtureRequest, bundles: Path
) -> AsyncIterator[tuple[Running, FaultyEngine]]:
    """The application on an engine that can fail, by either way through it."""
    engine = FaultyEngine(runs_on_cores=request.param)
    settings = make_settings(
        bundles,
        deadline_ms=400,
        max_wait_ms=60_000,
        queue_capacity=64,
        stall_s=0.5,
        stall_restart_s=1.0,
    )
    async with running(settings, engine.build) as service:
        engine.forget()
        yield service, engine
        engine.gate.set()


async def flood(service: Running, poisonous: int = 0) -> list[httpx.Response]:
    """Send pictures all at a time, the first of them poisonous."""
    files = [
        make_flat_png(POISON) if number < poisonous else make_png(60 + number)
        for number in range(REQUESTS)
    ]
    posts = (service.client.post(PREDICT, content=file) for file in files)
    return list(await asyncio.gather(*posts))


@pytest.mark.parametrize(
    "error",
    [RuntimeError("secret"), MemoryError("secret"), OSError(12, "secret"), None],
    ids=["raises", "out of memory", "device error", "not a number"],
)
async def test_engine_that_fails_now_and_then(
    faulty: tuple[Running, FaultyEngine], error: Exception | None
) -> None:
    """What it fails is told so and says nothing of itself; the rest is answered."""
    service, engine = faulty
    engine.error = error
    answers = await flood(service, poisonous=3)
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 500}
    assert statuses[500] >= 3
    if error is None or engine.runs_on_cores:
        assert statuses[500] == 3  # a batch that raises fails as a whole, a row that is NaN alone
    for answer in answers:
        if answer.status_code == 500:
            assert answer.json()["type"].endswith("#inference-failed")
            assert "secret" not in answer.text
    await verify_unharmed(service.client)


async def test_engine_that_hangs(faulty: tuple[Running, FaultyEngine]) -> None:
    """Everybody is told; not ready, then not live; both again when it comes back."""
    service, engine = faulty
    client = service.client
    engine.gate.clear()
    answers = await flood(service)
    assert {answer.status_code for answer in answers} <= {429, 503, 504}
    assert 504 in {answer.status_code for answer in answers}
    async with asyncio.timeout(10):
        while (await client.get("/health/ready")).status_code == 200:
            await asyncio.sleep(0.02)
    assert (await client.get("/health")).json()["status"] == "stalled"
    refused = await client.post(PREDICT, content=make_png())
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert (await client.get("/v2/health/ready")).status_code == 503
    assert "cxr_ready 0.0" in (await client.get("/metrics")).text
    async with asyncio.timeout(10):
        while (await client.get("/health/live")).status_code == 200:
            await asyncio.sleep(0.02)
    assert (await client.get("/v2/health/live")).status_code == 503
    engine.gate.set()
    await until(lambda: service.runtime.lifecycle.is_ready)
    await verify_unharmed(client)


async def test_slow_engine_is_no_hung_one(faulty: tuple[Running, FaultyEngine]) -> None:
    """However long the queue: what comes back now and then keeps the service ready and alive."""
    service, engine = faulty
    posts: list[asyncio.Task[httpx.Response]] = []
    for _ in range(4):  # together far longer than CXR_STALL_RESTART_S
        engine.gate.clear()
        posts.append(asyncio.create_task(service.client.post(PREDICT, content=make_png())))
        await asyncio.sleep(0.3)
        assert (await service.client.get("/health/ready")).status_code == 200
        assert (await service.client.get("/health/live")).status_code == 200
        engine.gate.set()
        await posts[-1]
    assert {post.result().status_code for post in posts} == {200}
    await verify_unharmed(service.client)
