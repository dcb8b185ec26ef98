"""The threads that share the cores."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from functools import partial

import pytest

from service.deadline import Deadline
from service.errors import DeadlineExceededError
from service.scheduling.core_pool import CorePool
from tests.service.harness import until


class Work:
    """A job that can be watched being forgotten."""

    def __call__(self) -> int:
        """Give the answer."""
        return 7


@pytest.fixture
def pool() -> Iterator[CorePool]:
    """One core."""
    one = CorePool(1)
    yield one
    one.close()


def test_older_job_of_a_flow_begins_first(pool: CorePool) -> None:
    """Whatever they cost; the cancelled are not run."""
    gate, order = threading.Event(), []
    pool.submit(gate.wait)
    jobs = [
        pool.submit(partial(order.append, number), flow="a", cost_s=cost_s)
        for number, cost_s in enumerate((1.0, 0.0, 0.1, 5.0, 0.0))
    ]
    assert jobs[2].cancel()
    gate.set()
    for job in (jobs[0], jobs[1], jobs[3], jobs[4]):
        job.result(timeout=10)
    assert order == [0, 1, 3, 4]


def test_small_jobs_hardly_wait(pool: CorePool) -> None:
    """What costs nothing comes before a backlog of what does."""
    gate, order = threading.Event(), []
    pool.submit(gate.wait)
    jobs = [pool.submit(partial(order.append, "image"), flow="a", cost_s=1.0) for _ in range(5)]
    jobs.append(pool.submit(partial(order.append, "parse")))
    gate.set()
    for job in jobs:
        job.result(timeout=10)
    assert order.index("parse") == 1


def test_pool_tells_of_failures_and_goes_on(pool: CorePool) -> None:
    """A job that raises ends neither its thread nor the pool; a closed pool takes nothing."""
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 / 0).result(timeout=10)
    assert pool.submit(lambda: 7).result(timeout=10) == 7
    pool.close()
    with pytest.raises(RuntimeError):
        pool.submit(lambda: 7)


def test_as_many_jobs_run_as_there_are_threads() -> None:
    """Two meet on two threads, and the third waits for one of them."""
    pool, meeting, gate = CorePool(2), threading.Barrier(3), threading.Event()

    def work() -> None:
        meeting.wait(timeout=10)
        gate.wait(timeout=10)

    jobs = [pool.submit(work) for _ in range(2)]
    third = pool.submit(lambda: None)
    meeting.wait(timeout=10)
    assert pool.waiting == 1
    gate.set()
    for job in (*jobs, third):
        job.result(timeout=10)
    pool.close()


@pytest.mark.anyio
async def test_nothing_begins_after_its_deadline(pool: CorePool) -> None:
    """Work that waited too long for a core costs no more time."""
    done: list[int] = []
    with pytest.raises(DeadlineExceededError):
        await pool.run(partial(done.append, 1), Deadline.after_ms(0))
    await pool.run(partial(done.append, 2), Deadline.after_ms(20_000))
    assert done == [2]


@pytest.mark.anyio
async def test_job_that_is_taken_late_does_not_begin(pool: CorePool) -> None:
    """Also before its waiter's own timer has told it."""
    now_s, gate, done = [0.0], threading.Event(), []
    held = pool.submit(gate.wait)
    await until(held.running)
    late = asyncio.create_task(pool.run(partial(done.append, 1), Deadline(9.0, lambda: now_s[0])))
    await until(lambda: pool.waiting == 1)
    now_s[0] = 9.0
    gate.set()
    with pytest.raises(DeadlineExceededError):
        await late
    assert not done


@pytest.mark.anyio
async def test_waiter_is_told_at_its_deadline(pool: CorePool) -> None:
    """Though the core is held and the job has not begun."""
    gate, done = threading.Event(), []
    held = pool.submit(gate.wait)
    async with asyncio.timeout(10):
        with pytest.raises(DeadlineExceededError):
            await pool.run(partial(done.append, 1), Deadline.after_ms(20))
    gate.set()
    held.result(timeout=10)
    pool.submit(lambda: None).result(timeout=10)
    assert not done


@pytest.mark.anyio
@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_idle_thread_holds_nothing(pool: CorePool, is_cancelled: bool) -> None:
    """What a job brought with it, an image's bytes say, is let go when it is done or dropped."""
    gate, work = threading.Event(), Work()
    held = weakref.ref(work)
    pool.submit(gate.wait)
    future = pool.submit(work)
    if is_cancelled:
        future.cancel()
    del work
    gate.set()
    if not is_cancelled:
        assert future.result(timeout=10) == 7
    await until(lambda: gc.collect() >= 0 and held() is None)


def test_closed_pool_drops_what_has_not_begun() -> None:
    """And lets what runs come to its end."""
    pool, gate, entered = CorePool(1), threading.Event(), threading.Event()

    def work() -> int:
        entered.set()
        gate.wait(timeout=10)
        return 7

    running, waiting = pool.submit(work), pool.submit(lambda: 8)
    assert entered.wait(timeout=10)
    pool.close()
    gate.set()
    assert running.result(timeout=10) == 7
    assert waiting.cancelled()
    assert pool.waiting == 0


def test_pool_is_stalled_only_when_every_thread_is(clock_s: list[float]) -> None:
    """One job that never comes back holds up nobody else; one on each thread does."""
    pool, gate = CorePool(2, clock=lambda: clock_s[0]), threading.Event()
    entered = threading.Semaphore(0)

    def hang() -> None:
        entered.release()
        gate.wait()

    pool.submit(hang)
    entered.acquire()
    clock_s[0] += 50.0
    assert pool.stalled_s == 0.0
    second = pool.submit(hang)
    entered.acquire()
    clock_s[0] += 5.0
    assert pool.stalled_s == 5.0  # since the last of them began
    gate.set()
    second.result()
    pool.submit(int).result()
    assert pool.stalled_s == 0.0
    pool.close()


@pytest.fixture
def clock_s() -> list[float]:
    """A clock that a test sets."""
    return [100.0]
