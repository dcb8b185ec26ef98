"""The queue's rule with a fake clock, and the batcher on a fake engine."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from cxr.pixels.image import ModelInput
from service.deadline import Deadline
from service.engines.buckets import bucket_sizes, stack_padded
from service.errors import (
    DeadlineExceededError,
    InferenceFailedError,
    NotReadyError,
    QueueFullError,
)
from service.scheduling.batch_queue import BatchQueue, Item
from service.scheduling.batcher import Batcher
from service.scheduling.lane import EngineRunner
from tests.service.fake_engine import POISON, FakeEngine
from tests.service.harness import until
from tests.service.make_bundle import probabilities_of

pytestmark = pytest.mark.anyio

WINDOW_S = 0.5


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Give the time."""
        return self.now_s


def make_input(grey: int) -> ModelInput:
    """Make a model input of one grey level."""
    return np.full((1, 4, 4), grey, dtype=np.uint8)


def make_item(clock: FakeClock, *, found_busy: bool = False, life_s: float = 9.0) -> Item:
    """Make an item accepted now."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    return Item(make_input(1), Deadline(clock() + life_s, clock), future, clock(), found_busy)


def make_queue(*items: Item, max_batch: int = 4) -> BatchQueue:
    """Make a queue that holds items already."""
    queue = BatchQueue(max_batch, WINDOW_S, capacity=6)
    queue.put(items)
    return queue


@asynccontextmanager
async def batching(engine: FakeEngine, **changes: Any) -> AsyncIterator[Batcher]:
    """Run a batcher and stop it at the end."""
    values: dict[str, Any] = {"max_batch": 4, "batch_window_s": 0.0, "queue_capacity": 8}
    values |= changes
    batcher = Batcher(EngineRunner(engine, bucket_sizes(values["max_batch"])), **values)
    batcher.start()
    try:
        yield batcher
    finally:
        engine.gate.set()
        await batcher.stop()


def soon() -> Deadline:
    """Give a deadline no test reaches."""
    return Deadline.after_ms(20_000)


async def occupy(engine: FakeEngine, batcher: Batcher) -> asyncio.Future[Any]:
    """Have the engine run one item and hold it there."""
    engine.gate.clear()
    [future] = batcher.submit([make_input(0)], soon())
    await until(lambda: engine.entered.acquire(blocking=False))
    return future


async def test_lone_item_is_due_at_once() -> None:
    """Whoever finds the engine idle pays no window."""
    clock = FakeClock()
    assert make_queue(make_item(clock)).due_in_s(clock(), engine_busy=False) == 0.0


async def test_window_counts_from_the_oldest_item() -> None:
    """A later item does not prolong the wait of the oldest."""
    clock = FakeClock()
    queue = make_queue(make_item(clock, found_busy=True))
    clock.now_s += 0.3
    queue.put([make_item(clock, found_busy=True)])
    assert queue.due_in_s(clock(), engine_busy=False) == pytest.approx(0.2)
    clock.now_s += 0.3
    assert queue.due_in_s(clock(), engine_busy=False) == 0.0


async def test_nothing_is_due_while_the_engine_runs() -> None:
    """Items that come meanwhile may still join, until the batch is full."""
    clock = FakeClock()
    queue = make_queue(*(make_item(clock, found_busy=True) for _ in range(3)))
    clock.now_s += 10 * WINDOW_S
    assert queue.due_in_s(clock(), engine_busy=True) is None
    queue.put([make_item(clock, found_busy=True)])
    assert queue.due_in_s(clock(), engine_busy=True) == 0.0


async def test_empty_queue_is_never_due() -> None:
    """Without items there is nothing to wait for."""
    assert make_queue().due_in_s(0.0, engine_busy=False) is None


async def test_take_drops_the_cancelled_and_the_late() -> None:
    """Dropped items leave their place in the batch to those behind them."""
    clock = FakeClock()
    cancelled, late, kept = make_item(clock), make_item(clock, life_s=1.0), make_item(clock)
    queue = make_queue(cancelled, late, kept, max_batch=1)
    cancelled.answer.cancel()
    clock.now_s += 2.0
    assert queue.take() == [kept]
    assert isinstance(late.answer.exception(), DeadlineExceededError)
    assert len(queue) == 0


async def test_room_is_made_by_items_nobody_waits_for() -> None:
    """Cancelled items do not keep others out."""
    clock = FakeClock()
    items = [make_item(clock) for _ in range(6)]
    queue = make_queue(*items)
    with pytest.raises(QueueFullError) as caught:
        queue.verify_room(1, retry_after_s=7)
    assert caught.value.retry_after_s == 7
    items[2].answer.cancel()
    queue.verify_room(1, retry_after_s=7)
    assert len(queue) == 5


@pytest.mark.parametrize(
    ("max_batch", "sizes"),
    [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))],
)
def test_buckets(max_batch: int, sizes: tuple[int, ...]) -> None:
    """Powers of two, and the largest batch itself."""
    assert bucket_sizes(max_batch) == sizes


def test_padding_keeps_order_and_fills_with_black() -> None:
    """Three items go into the bucket of four."""
    batch = stack_padded([make_input(g) for g in (5, 6, 7)], (1, 2, 4))
    assert batch.dtype == np.uint8
    assert batch[:, 0, 0, 0].tolist() == [5, 6, 7, 0]


async def test_every_item_gets_its_own_answer(engine: FakeEngine) -> None:
    """More items than a batch holds come back in order, from full batches."""
    async with batching(engine) as batcher:
        greys = [10, 200, 30, 90, 120, 60, 250]
        futures = batcher.submit([make_input(g) for g in greys], soon())
        outputs = await asyncio.gather(*futures)
        expected = probabilities_of(np.stack([make_input(g) for g in greys]))
        np.testing.assert_allclose([o.row.probabilities for o in outputs], expected, atol=1e-6)
        assert engine.batches == [4, 4]  # 4, and 3 padded


async def test_next_batch_collects_while_one_runs(engine: FakeEngine) -> None:
    """Items that come one by one during a run share the next one."""
    async with batching(engine) as batcher:
        first = await occupy(engine, batcher)
        others = [batcher.submit([make_input(g)], soon())[0] for g in (1, 2, 3)]
        await asyncio.sleep(0)
        assert engine.batches == []
        engine.gate.set()
        await asyncio.gather(first, *others)
        assert engine.batches == [1, 4]


async def test_refusal_is_atomic(engine: FakeEngine) -> None:
    """What does not fit as a whole leaves nothing behind and harms nobody."""
    async with batching(engine) as batcher:
        first = await occupy(engine, batcher)
        waiting = batcher.submit([make_input(1)] * 3, soon())
        depth = batcher.depth
        with pytest.raises(QueueFullError) as caught:
            batcher.submit([make_input(2)] * 6, soon())
        assert batcher.depth == depth == 3
        assert caught.value.retry_after_s >= 1
        engine.gate.set()
        await asyncio.gather(first, *waiting)


async def test_cancelled_item_is_not_run(engine: FakeEngine) -> None:
    """Of items nobody waits for, no batch is made."""
    async with batching(engine) as batcher:
        first = await occupy(engine, batcher)
        for future in batcher.submit([make_input(1)] * 3, soon()):
            future.cancel()
        engine.gate.set()
        await first
        await until(lambda: batcher.depth == 0)
    assert engine.batches == [1]


async def test_item_cancelled_in_a_formed_batch_is_not_run(engine: FakeEngine) -> None:
    """A batch formed ahead forgets who left before its run began."""
    async with batching(engine) as batcher:
        first = await occupy(engine, batcher)
        futures = batcher.submit([make_input(g) for g in (1, 2, 3, 4)], soon())
        await until(lambda: batcher.depth == 0)  # formed, waits for the engine
        for future in futures[1:]:
            future.cancel()
        engine.gate.set()
        await asyncio.gather(first, futures[0])
    assert engine.batches == [1, 1]


async def test_deadline_frees_the_waiter_during_a_run(engine: FakeEngine) -> None:
    """The waiter is told at its deadline, not when the engine is free again."""
    async with batching(engine) as batcher:
        first = await occupy(engine, batcher)
        [late] = batcher.submit([make_input(1)], Deadline.after_ms(10))
        with pytest.raises(DeadlineExceededError):
            await late
        assert not engine.gate.is_set()
        engine.gate.set()
        await first
    assert engine.batches == [1]


async def test_answered_items_are_let_go(engine: FakeEngine) -> None:
    """Model inputs are not held until the deadline of their request."""
    async with batching(engine) as batcher:
        one = make_input(1)
        held = weakref.ref(one)
        await batcher.submit([one], soon())[0]
        del one
        await until(lambda: gc.collect() >= 0 and held() is None)


async def test_running_item_is_answered_after_its_deadline(engine: FakeEngine) -> None:
    """What has begun is not reported as dropped."""
    async with batching(engine) as batcher:
        engine.gate.clear()
        [future] = batcher.submit([make_input(1)], Deadline.after_ms(30))
        await until(lambda: engine.entered.acquire(blocking=False))
        await asyncio.sleep(0.05)
        engine.gate.set()
        assert (await future).inference_ms > 0


async def test_nan_row_fails_alone(engine: FakeEngine) -> None:
    """Its neighbours in the batch are answered."""
    engine.poisoned = True
    async with batching(engine) as batcher:
        futures = batcher.submit([make_input(g) for g in (1, POISON, 2)], soon())
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
    assert [isinstance(o, InferenceFailedError) for o in outcomes] == [False, True, False]


async def test_engine_exception_fails_its_batch_only(engine: FakeEngine) -> None:
    """Nobody is left waiting, and the next batch runs."""
    async with batching(engine) as batcher:
        engine.fails = True
        futures = batcher.submit([make_input(1)] * 2, soon())
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        assert all(isinstance(o, InferenceFailedError) for o in outcomes)
        engine.fails = False
        await batcher.submit([make_input(1)], soon())[0]


@pytest.mark.parametrize("rows", [0, 1], ids=["none", "too few"])
async def test_engine_that_loses_rows_fails_its_batch(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """An answer of the wrong shape leaves nobody waiting."""
    run = engine.run
    monkeypatch.setattr(engine, "run", lambda images: run(images[:rows]))
    async with batching(engine) as batcher:
        futures = batcher.submit([make_input(1)] * 2, soon())
        outcomes = await asyncio.gather(*futures, return_exceptions=True)
        assert isinstance(outcomes[-1], InferenceFailedError)


async def test_stacking_failure_leaves_nobody_waiting(engine: FakeEngine) -> None:
    """Inputs that do not stack fail, and the batcher goes on."""
    async with batching(engine) as batcher:
        odd = [make_input(1), np.zeros((1, 9, 9), dtype=np.uint8)]
        outcomes = await asyncio.gather(*batcher.submit(odd, soon()), return_exceptions=True)
        assert all(isinstance(o, InferenceFailedError) for o in outcomes)
        await batcher.submit([make_input(1)], soon())[0]


async def test_stop_finishes_what_was_accepted(engine: FakeEngine) -> None:
    """Draining runs the queue to its end and accepts nothing more."""
    async with batching(engine) as batcher:
        first = await occupy(engine, batcher)
        waiting = batcher.submit([make_input(1)] * 6, soon())
        stopping = asyncio.create_task(batcher.stop())
        await asyncio.sleep(0)
        with pytest.raises(NotReadyError):
            batcher.submit([make_input(1)], soon())
        engine.gate.set()
        await stopping
        assert all(future.done() and not future.exception() for future in (first, *waiting))


async def test_window_lets_company_join(engine: FakeEngine) -> None:
    """After a run, an item that came during it waits out its window for others."""
    async with batching(engine, batch_window_s=30.0) as batcher:
        first = await occupy(engine, batcher)
        early = batcher.submit([make_input(1)] * 3, soon())
        engine.gate.set()
        await first
        assert batcher.depth == 3
        [last] = batcher.submit([make_input(2)], soon())  # fills the batch: due at once
        await asyncio.gather(*early, last)
    assert engine.batches == [1, 4]
