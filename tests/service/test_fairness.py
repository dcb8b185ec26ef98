"""Several models share the machine: one's flood is not the other's wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.images.preparation import PreparedImage
from service.models import predictor as prediction
from service.scheduling.core_pool import CorePool
from tests.service.conftest import make_settings
from tests.service.fake_engine import FakeEngine
from tests.service.harness import load_of, running, until
from tests.service.make_images import make_png

FLOOD = 12


class Core:
    """A pool of one core that is held until all is queued, and remembers what it ran."""

    def __init__(self) -> None:
        self.pool = CorePool(1)
        self.order: list[str] = []
        self.gate = threading.Event()
        self.jobs: list[Future[Any]] = [self.pool.submit(self.gate.wait)]

    def queue(self, flows: str, cost_s: float = 1.0) -> None:
        """Queue a job for each letter."""
        for flow in flows:
            job = partial(self.order.append, flow)
            self.jobs.append(self.pool.submit(job, flow=flow, cost_s=cost_s))

    def finish(self) -> str:
        """Run everything and give the order."""
        self.gate.set()
        for job in self.jobs:
            job.result(timeout=10)
        return "".join(self.order)


@pytest.fixture
def core() -> Iterator[Core]:
    """A held core."""
    one = Core()
    yield one
    one.gate.set()
    one.pool.close()


def test_flows_of_equal_cost_alternate(core: Core) -> None:
    """However many of one wait before the others come."""
    core.queue("aaaaaabbbc")
    assert core.finish() == "abcababaaa"


def test_dear_and_cheap_jobs_get_the_same_time(core: Core) -> None:
    """Ten jobs of a tenth of a second for each of one second."""
    core.queue("s" * 4, cost_s=1.0)
    core.queue("q" * 40, cost_s=0.1)
    order = core.finish()
    for end in range(len(order)):
        slow_s, quick_s = order[:end].count("s"), order[:end].count("q") / 10
        if slow_s < 4 and quick_s < 4:  # both still have some waiting
            assert abs(slow_s - quick_s) <= 1.1
    assert order[:22].count("s") == 2


@settings(max_examples=60, deadline=None)
@given(
    costs_s=st.lists(st.floats(0.01, 2.0), min_size=2, max_size=4),
    counts=st.lists(st.integers(1, 30), min_size=4, max_size=4),
)
def test_shares_of_time_differ_by_a_job_at_most(costs_s: list[float], counts: list[int]) -> None:
    """While two flows wait, neither gets more than a job of each ahead of the other."""
    core = Core()
    jobs = dict(zip("abcd", zip(costs_s, counts, strict=False), strict=False))
    for flow, (cost_s, count) in jobs.items():
        core.queue(flow * count, cost_s)
    order = core.finish()
    core.pool.close()
    for end in range(len(order)):
        done = {flow: order[:end].count(flow) for flow in jobs}
        backlogged = [flow for flow, (_, count) in jobs.items() if done[flow] < count]
        spent_s = [done[flow] * jobs[flow][0] for flow in backlogged]
        dearest_s = sum(sorted(jobs[flow][0] for flow in backlogged)[-2:])
        assert max(spent_s) - min(spent_s) <= dearest_s + 1e-6


@pytest.mark.parametrize("was_there_before", [False, True])
def test_newcomer_neither_waits_nor_catches_up(core: Core, was_there_before: bool) -> None:
    """From when it comes, it alternates with who has been served all the time."""
    core.queue("c" * was_there_before + "aaa")
    brings = core.pool.submit(partial(core.queue, "ccc"), flow="a", cost_s=1.0)
    core.queue("aaa")
    core.gate.set()
    brings.result(timeout=10)
    tail = core.finish().removeprefix("c" * was_there_before).removeprefix("aaa")
    assert tail in ("cacaca", "acacac")


async def flood(cores: int, floods: int, ended_between: list[int]) -> None:
    """Flood some flows, give a quiet one single jobs, and count whom each of these waits for."""
    log: list[str] = []
    pool, allowed, ended = CorePool(cores), threading.Semaphore(0), 0

    def submit(name: str) -> Future[None]:
        def job() -> None:
            log.append(name)
            assert allowed.acquire(timeout=20)

        return pool.submit(job, flow=name, cost_s=1.0)

    jobs = [submit(str(number)) for number in range(floods) for _ in range(FLOOD * cores)]

    async def end(count: int) -> None:
        nonlocal ended
        allowed.release(count)
        ended += count
        await until(lambda: len(log) == cores + ended)

    for count in ended_between:
        await end(count)
        begun = len(log)
        jobs.append(submit("quiet"))
        while "quiet" not in log[begun:]:
            await end(1)
        # What began before it in the same instant of virtual time, and one that was just in turn.
        assert log[begun:].index("quiet") <= 2 * floods
    allowed.release(len(jobs))
    for job in jobs:
        job.result(timeout=10)
    pool.close()


@settings(max_examples=25, deadline=None)
@given(
    cores=st.integers(1, 3),
    floods=st.integers(1, 3),
    ended_between=st.lists(st.integers(1, 3), min_size=1, max_size=3),
)
def test_quiet_flow_is_next(cores: int, floods: int, ended_between: list[int]) -> None:
    """At most two jobs of each flooded flow begin before its own, however many wait."""
    asyncio.run(flood(cores, floods, ended_between))


@pytest.mark.anyio
@pytest.mark.parametrize("runs_on_cores", [False, True], ids=["device", "cores"])
@pytest.mark.parametrize("known_s", [0.0, 0.02], ids=["never measured", "measured"])
async def test_image_of_a_quiet_model_is_decoded_in_its_turn(
    bundles: Path,
    engine: FakeEngine,
    monkeypatch: pytest.MonkeyPatch,
    runs_on_cores: bool,
    known_s: float,
) -> None:
    """Not after all that waits for another model."""
    decoded: list[bytes] = []

    def prepare(data: bytes, *given: Any, **named: Any) -> PreparedImage:
        decoded.append(data)
        return original(data, *given, **named)

    original = prediction.prepare_image
    monkeypatch.setattr(prediction, "prepare_image", prepare)
    engine.runs_on_cores = runs_on_cores
    flooding, quiet = make_png(200), make_png(60)
    limits = {"models": "", "workers": 1, "max_wait_ms": 10_000}
    async with running(make_settings(bundles, **limits), engine.build) as service:
        gate = threading.Event()
        pool = service.runtime.pool
        held = pool.submit(gate.wait)
        await until(held.running)
        for model in ("resnet18", "cnn"):
            load_of(service, model).core_item.value = known_s

        def post(data: bytes, model: str) -> asyncio.Task[Any]:
            url = f"/v1/predict?model={model}"
            return asyncio.create_task(service.client.post(url, content=data))

        answers = [post(flooding, "resnet18") for _ in range(6)]
        await until(lambda: pool.waiting == 6)
        answers.append(post(quiet, "cnn"))
        await until(lambda: pool.waiting == 7)
        gate.set()
        statuses = [answer.status_code for answer in await asyncio.gather(*answers)]
    assert statuses == [200] * 7
    assert decoded.index(quiet) <= 1
