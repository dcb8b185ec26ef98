"""What holds for every order of events: a batcher under random traffic."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from service.deadline import Deadline
from service.errors import DeadlineExceededError, InferenceFailedError, QueueFullError
from service.scheduling.batcher import Batcher

CAPACITY = 6
FAILING = 13  # items of this number, modulo, fail alone

steps = st.one_of(
    st.tuples(st.just("submit"), st.integers(1, 5)),
    st.tuples(st.just("hurried"), st.integers(1, 3)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("run"), st.integers(1, 4)),
    st.tuples(st.just("turn"), st.just(0)),
)


class CountingRunner:
    """Answers each payload with its double, remembers what it ran, and runs only when let."""

    def __init__(self) -> None:
        self.allowed = threading.Semaphore(0)
        self.ran: list[list[int]] = []
        self.lock = threading.Lock()

    def form(self, payloads: Sequence[int]) -> partial[list[int | InferenceFailedError]]:
        """Give what runs them."""
        return partial(self._run, list(payloads))

    def prepare_thread(self) -> None:
        """Nothing to prepare."""

    def _run(self, payloads: list[int]) -> list[int | InferenceFailedError]:
        assert self.allowed.acquire(timeout=20)
        with self.lock:
            self.ran.append(payloads)
        return [InferenceFailedError("x") if p % FAILING == 0 else 2 * p for p in payloads]


async def play(script: list[tuple[str, int]], max_batch: int) -> None:
    """Play one script and check what must hold at every step and at the end."""
    runner, number = CountingRunner(), 0
    batcher: Batcher[int, int] = Batcher(
        runner, max_batch=max_batch, batch_window_s=0.0, queue_capacity=CAPACITY
    )
    batcher.start()
    futures: dict[int, asyncio.Future] = {}
    cancelled: set[int] = set()
    refused_with_room = False
    for what, how_many in script:
        if what in ("submit", "hurried"):
            payloads = list(range(number + 1, number + 1 + how_many))
            deadline = Deadline.after_ms(1.0 if what == "hurried" else 60_000)
            try:
                given = batcher.submit(payloads, deadline)
            except QueueFullError:
                refused_with_room |= batcher.depth + how_many <= CAPACITY
                continue
            number += how_many
            futures |= zip(payloads, given, strict=True)
        elif what == "cancel" and (how_many + 1) in futures:
            if futures[how_many + 1].cancel():
                cancelled.add(how_many + 1)
        elif what == "run":
            runner.allowed.release(how_many)
            await asyncio.sleep(0.002)
        await asyncio.sleep(0)
        assert batcher.depth <= CAPACITY
    for _ in range(number + 1):
        runner.allowed.release()
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(*futures.values(), return_exceptions=True)
        await batcher.stop()
    ran = [payload for batch in runner.ran for payload in batch]
    assert batcher.depth == 0
    assert not refused_with_room
    assert len(ran) == len(set(ran)), "something ran twice"
    assert all(1 <= len(batch) <= max_batch for batch in runner.ran)
    assert all(batch == sorted(batch) for batch in runner.ran), "a batch is out of order"
    assert ran == sorted(ran), "somebody was overtaken"
    for payload, outcome in zip(futures, outcomes, strict=True):
        if isinstance(outcome, asyncio.CancelledError):
            assert payload in cancelled
        elif isinstance(outcome, DeadlineExceededError):
            assert payload not in ran
        elif isinstance(outcome, InferenceFailedError):
            assert payload % FAILING == 0
            assert payload in ran
        else:
            assert not isinstance(outcome, BaseException), outcome
            assert outcome.row == 2 * payload, "an answer was swapped"
            assert payload in ran


@settings(max_examples=60, deadline=None)
@given(script=st.lists(steps, max_size=25), max_batch=st.integers(1, 4))
def test_nothing_is_lost_swapped_or_run_twice(
    script: list[tuple[str, int]], max_batch: int
) -> None:
    """Each accepted item is answered once with its own answer, or told why not; in order."""
    asyncio.run(play(script, max_batch))
