"""Several models share the machine: one's flood is not the other's wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.deadline import Deadline
from service.inference import preparation
from service.inference.batcher import Batcher
from service.inference.core_pool import CorePool, Urgency
from service.inference.preparation import PreparedImage
from service.inference.turns import Turns
from tests.service.conftest import make_settings
from tests.service.fake_engine import FakeEngine
from tests.service.harness import running, until
from tests.service.make_images import make_png

FLOOD = 12


class LoggingRunner:
    """Notes in a common log when it begins, and ends only when let."""

    def __init__(self, name: str, log: list[str], allowed: threading.Semaphore) -> None:
        self.name, self.log, self.allowed = name, log, allowed

    def form(self, payloads: Sequence[int]) -> partial[list[int]]:
        """Give what runs them."""
        return partial(self._run, list(payloads))

    def prepare_thread(self) -> None:
        """Nothing to prepare."""

    def _run(self, payloads: list[int]) -> list[int]:
        self.log.append(self.name)
        assert self.allowed.acquire(timeout=20)
        return payloads


async def flood(cores: int, max_batch: int, floods: int, runs_between: list[int]) -> None:
    """Flood some models, give a quiet one single items, and count whom each of these waits for."""
    log: list[str] = []
    allowed = threading.Semaphore(0)
    pool = CorePool(cores)
    batchers: dict[str, Batcher[int, int]] = {
        name: Batcher(
            LoggingRunner(name, log, allowed),
            max_batch=max_batch,
            batch_window_s=0.0,
            queue_capacity=FLOOD * max_batch,
            pool=pool,
        )
        for name in [*map(str, range(floods)), "quiet"]
    }
    futures = []
    for name, batcher in batchers.items():
        batcher.start()
        if name != "quiet":
            futures += batcher.submit(list(range(FLOOD * max_batch)), Deadline.after_ms(60_000))
    await until(lambda: len(log) == cores)
    for runs in runs_between:
        allowed.release(runs)
        await asyncio.sleep(0.001)
        [quiet] = batchers["quiet"].submit([0], Deadline.after_ms(60_000))
        for _ in range(5):  # its run is formed and handed over
            await asyncio.sleep(0)
        begun = len(log)
        async with asyncio.timeout(20):
            while "quiet" not in log[begun:] and not quiet.done():
                allowed.release()
                await asyncio.sleep(0.001)
            others = log[begun:].index("quiet") if "quiet" in log[begun:] else 0
            assert others <= floods * cores, "it waited for more than one run a core of each"
            while not quiet.done():
                allowed.release()
                await asyncio.sleep(0.001)
    allowed.release(len(futures) + len(runs_between))
    await asyncio.gather(*futures)
    for batcher in batchers.values():
        await batcher.stop()
    pool.close()


@settings(max_examples=25, deadline=None)
@given(
    cores=st.integers(1, 3),
    max_batch=st.integers(1, 3),
    floods=st.integers(1, 2),
    runs_between=st.lists(st.integers(1, 4), min_size=1, max_size=4),
)
def test_quiet_model_waits_for_one_run_a_core(
    cores: int, max_batch: int, floods: int, runs_between: list[int]
) -> None:
    """Of each flooded model at most as many runs as cores are ahead of it, however many wait."""
    asyncio.run(flood(cores, max_batch, floods, runs_between))


@settings(max_examples=300)
@given(steps=st.lists(st.one_of(st.sampled_from("abc"), st.none()), max_size=60))
def test_nobody_is_passed_more_often_than_there_are_turns(steps: list[str | None]) -> None:
    """With k of its owner's jobs before it, a job sees at most k + 2 of any other begin first."""
    turns, waiting, begun = Turns(), [], []
    passed: dict[int, tuple[str, int, int]] = {}
    for number, owner in enumerate([*steps, *[None] * len(steps)]):
        if owner is not None:
            own = sum(1 for _, _, other in waiting if other == owner)
            waiting.append((turns.give(owner), number, owner))
            passed[number] = (owner, own, len(begun))
        elif waiting:
            turn, first, name = min(waiting)
            waiting.remove((turn, first, name))
            turns.begin(turn)
            mine, own, since = passed[first]
            assert mine == name
            between = begun[since:]
            assert between.count(name) == own, "an owner's jobs changed their order"
            for other in set("abc") - {name}:
                assert between.count(other) <= own + 2
            begun.append(name)
    assert not waiting


def test_pool_gives_owners_turns() -> None:
    """Of equal urgency; who comes late neither waits for a backlog nor makes up for lost turns."""
    pool, gate, order = CorePool(1), threading.Event(), []

    def submit(owners: str) -> None:
        for name in owners:
            jobs.append(pool.submit(Urgency.DECODE, partial(order.append, name), name))

    jobs = [pool.submit(Urgency.RUN, gate.wait)]
    submit("aaaaaabbbc")
    gate.set()
    for job in jobs:
        job.result(timeout=10)
    assert "".join(order) == "abcababaaa"
    gate.clear()
    order.clear()
    jobs = [pool.submit(Urgency.RUN, gate.wait)]
    submit("aaaccc")
    gate.set()
    for job in jobs:
        job.result(timeout=10)
    assert "".join(order) in ("acacac", "cacaca")
    pool.close()


@pytest.mark.anyio
async def test_image_of_a_quiet_model_is_decoded_in_its_turn(
    bundles: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after all that waits for another model."""
    decoded: list[bytes] = []

    def prepare(data: bytes, *given: object, **named: object) -> PreparedImage:
        decoded.append(data)
        return original(data, *given, **named)  # type: ignore[arg-type]

    original = preparation.prepare_image
    flooding, quiet = make_png(200), make_png(60)
    async with running(make_settings(bundles, models="", workers=1), engine.build) as service:
        monkeypatch.setattr(preparation, "prepare_image", prepare)
        gate = threading.Event()
        service.runtime.pool.submit(Urgency.RUN, gate.wait)

        def post(data: bytes, model: str) -> asyncio.Task[object]:
            url = f"/v1/predict?model={model}"
            return asyncio.create_task(service.client.post(url, content=data))

        answers = [post(flooding, "resnet18") for _ in range(6)]
        await until(lambda: service.runtime.decoder.pending == 6)
        answers.append(post(quiet, "cnn"))
        await until(lambda: service.runtime.decoder.pending == 7)
        gate.set()
        await asyncio.gather(*answers)
    assert decoded.index(quiet) <= 1
