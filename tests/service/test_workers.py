"""Worker processes: whatever ends one, nobody else notices."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr.errors import CxrError, ImageOutOfScopeError
from service.deadline import Deadline
from service.errors import DeadlineExceededError, QueueFullError, TooCostlyError
from service.scheduling.cores import Batching
from service.workers.messages import JobFailedError
from service.workers.pool import WorkerPool, _Kept
from tests.service import worker_jobs as jobs
from tests.service.harness import until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def pool_of(size: int, **limits: Any) -> AsyncIterator[WorkerPool]:
    """Start a pool, ready."""
    pool = WorkerPool(size, **{"longest_s": 30.0} | limits)
    pool.start()
    try:
        yield pool
    finally:
        pool.close()


@pytest.fixture
async def pool() -> AsyncIterator[WorkerPool]:
    """Two workers."""
    async with pool_of(2) as one:
        yield one


def soon() -> Deadline:
    """Give a deadline that no test reaches."""
    return Deadline.after_ms(60_000)


async def test_jobs_are_done_elsewhere(pool: WorkerPool) -> None:
    """By as many processes as there should be, and arrays go both ways."""
    seen = await asyncio.gather(*(pool.run(partial(jobs.nap, 0.2), soon()) for _ in range(4)))
    assert len(set(seen)) == 2
    assert os.getpid() not in seen
    doubled = await pool.run(partial(jobs.double, np.arange(100, dtype=np.uint8)), soon())
    np.testing.assert_array_equal(doubled, 2 * np.arange(100, dtype=np.uint8))


async def test_errors_come_back_as_they_were(pool: WorkerPool) -> None:
    """With all they carry; what is no deliberate error comes without its text."""
    with pytest.raises(ImageOutOfScopeError, match="It is a hand") as out:
        await pool.run(jobs.refuse, soon())
    assert out.value.code == "not-a-chest"
    with pytest.raises(QueueFullError) as full:
        await pool.run(jobs.be_full, soon())
    assert full.value.retry_after_s == 7
    with pytest.raises(JobFailedError) as fault:
        await pool.run(jobs.stumble, soon())
    assert "Doe" not in str(fault.value)
    with pytest.raises(MemoryError):
        await pool.run(jobs.run_out, soon())
    assert pool.ended == 0


async def test_a_crash_is_nobody_elses(pool: WorkerPool, tmp_path: Path) -> None:
    """The job is done by another worker, once; others go on, and the worker is replaced."""
    tries = tmp_path / "tries"
    others = [asyncio.create_task(pool.run(partial(jobs.nap, 0.05), soon())) for _ in range(20)]
    assert await pool.run(partial(jobs.crash, tries, at_most=1), soon()) == "survived"
    with pytest.raises(TooCostlyError, match="twice"):
        await pool.run(partial(jobs.crash, tries, at_most=100), soon())
    assert len(tries.read_text()) == 4
    await asyncio.gather(*others)
    await until(lambda: len(pool.pids) == 2)
    assert pool.ended == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_killed_workers_lose_nothing(pool: WorkerPool, number: signal.Signals) -> None:
    """Every job is answered while workers are killed one after the other."""
    begun = [asyncio.create_task(pool.run(partial(jobs.nap, 0.02), soon())) for _ in range(100)]
    for killed in range(5):
        await until(lambda: pool.pids)
        os.kill(pool.pids[0], number)
        # One that loses two workers is taken for the cause.
        await until(lambda killed=killed: pool.ended > killed)
        done = sum(one.done() for one in begun)
        await until(lambda done=done: sum(one.done() for one in begun) >= done + 10)
    assert len(await asyncio.gather(*begun)) == 100


async def test_what_waits_is_done_together() -> None:
    """Each worker takes its share, of one batching only, and no more than may go together."""
    async with pool_of(1) as pool:
        await pool.run(jobs.pid, soon())
        busy = asyncio.create_task(pool.run(partial(jobs.nap, 0.3), soon()))
        await asyncio.sleep(0)

        batchings = {flow: Batching(jobs.together, most=4) for flow in "ab"}

        def ask(number: int, flow: str = "a") -> asyncio.Task[tuple[int, int]]:
            job = partial(jobs.echo, number)
            run = pool.run(job, soon(), flow=flow, batching=batchings[flow])
            return asyncio.create_task(run)

        asked = [ask(number) for number in range(5)]
        other = ask(9, "b")
        seen = await asyncio.gather(*asked, other, busy)
    assert [number for number, _ in seen[:5]] == [0, 1, 2, 3, 4]
    assert [size for _, size in seen[:5]] == [2, 2, 3, 3, 3]  # two were given to it before
    assert seen[5] == (9, 1)


async def test_who_goes_with_a_crash_is_done_alone(tmp_path: Path) -> None:
    """The others of a batch that ends its worker are answered; what ends two is not tried again."""
    tries = tmp_path / "tries"
    async with pool_of(1) as pool:
        await pool.run(jobs.pid, soon())
        busy = asyncio.create_task(pool.run(partial(jobs.nap, 0.2), soon()))
        await asyncio.sleep(0)
        work = [partial(jobs.echo, 1), partial(jobs.crash, tries), partial(jobs.echo, 2)]
        batching = Batching(jobs.together, most=4)
        asked = [pool.run(one, soon(), batching=batching) for one in work]
        first, crashed, second = await asyncio.gather(*asked, return_exceptions=True)
        await busy
    assert (first, second) == ((1, 1), (2, 1))
    assert isinstance(crashed, TooCostlyError)
    assert len(tries.read_text()) == 2


async def test_a_job_that_takes_too_long_is_ended() -> None:
    """With its worker, which is replaced."""
    async with pool_of(1, longest_s=5.0) as pool:
        before = await pool.run(jobs.pid, soon())
        with pytest.raises(DeadlineExceededError, match="longer"):
            await pool.run(partial(jobs.nap, 30), soon())
        assert await pool.run(jobs.pid, soon()) != before


async def test_a_job_that_takes_long_holds_nobody_up() -> None:
    """Those that were given to its worker with it, or after it, are done by another one."""
    async with pool_of(2, patience_s=0.2) as pool:
        await asyncio.gather(*(pool.run(partial(jobs.nap, 0.3), soon()) for _ in range(2)))
        busy = [asyncio.create_task(pool.run(partial(jobs.nap, 0.1), soon())) for _ in range(2)]
        await asyncio.sleep(0)
        work = [partial(jobs.slow_echo, 0, 6.0), *(partial(jobs.echo, n) for n in range(1, 6))]
        run = partial(pool.run, deadline=soon(), batching=Batching(jobs.together, most=4))
        slow, *quick = [asyncio.create_task(run(one)) for one in work]
        async with asyncio.timeout(3):
            assert [number for number, _ in await asyncio.gather(*quick)] == [1, 2, 3, 4, 5]
        assert not slow.done()
        assert (await slow)[0] == 0
        await asyncio.gather(*busy)
        assert pool.ended == 0


async def test_a_job_nobody_waits_for_is_ended() -> None:
    """A worker is not kept from others until it may be hung: its client went away."""
    async with pool_of(1, patience_s=0.2) as pool:
        before = await pool.run(jobs.pid, soon())
        with pytest.raises(DeadlineExceededError):
            await pool.run(partial(jobs.nap, 30), Deadline.after_ms(300))
        async with asyncio.timeout(10):
            assert await pool.run(jobs.pid, soon()) != before


async def test_a_job_that_takes_too_much_memory_is_ended() -> None:
    """Before the machine has none."""
    async with pool_of(1, most_bytes=400 * 2**20) as pool:
        with pytest.raises(TooCostlyError, match="memory"):
            await pool.run(partial(jobs.take_memory, 2**30), soon())
        assert await pool.run(jobs.pid, soon())


async def test_nothing_of_a_worker_is_run_here(pool: WorkerPool) -> None:
    """A worker that sends more than data is ended."""
    with pytest.raises(JobFailedError):
        await pool.run(jobs.give_odd, soon())
    with pytest.raises(TooCostlyError):
        await pool.run(jobs.betray, soon())
    assert pool.ended == 2
    assert await pool.run(jobs.pid, soon())


async def test_what_cannot_be_sent_fails_alone(pool: WorkerPool) -> None:
    """And nobody gets the answer of another one for it."""
    asked = [pool.run(partial(jobs.echo, number), soon()) for number in (1, 2)]
    asked.insert(1, pool.run(lambda: (0, 0), soon()))  # which cannot be pickled
    first, odd, second = await asyncio.gather(*asked, return_exceptions=True)
    assert (first, second) == ((1, 1), (2, 1))
    assert isinstance(odd, Exception)
    assert await pool.run(partial(jobs.echo, 3), soon()) == (3, 1)


async def test_a_fault_is_one_jobs_own() -> None:
    """Those done together with one that fails by a mistake are answered."""
    async with pool_of(1) as pool:
        await pool.run(jobs.pid, soon())
        busy = asyncio.create_task(pool.run(partial(jobs.nap, 0.2), soon()))
        await asyncio.sleep(0)
        work = [partial(jobs.echo, 1), jobs.stumble, partial(jobs.echo, 2)]
        batching = Batching(jobs.together, most=4)
        asked = [pool.run(one, soon(), batching=batching) for one in work]
        first, fault, second = await asyncio.gather(*asked, return_exceptions=True)
        await busy
    assert (first, second) == ((1, 1), (2, 1))
    assert isinstance(fault, JobFailedError)


async def test_nobody_there_is_told_and_nothing_piles_up() -> None:
    """Workers that never become ready count as stalled; what nobody waits for leaves the queue."""
    async with pool_of(1) as pool:
        await pool.run(jobs.pid, soon())
        with pytest.raises(CxrError):
            await pool.keep("model", jobs.crash, int)
        pool._kept["model"] = _Kept(jobs.crash, int)  # as a bundle that is broken afterwards
        os.kill(pool.pids[0], signal.SIGKILL)
        await until(lambda: pool.ended > 4)
        stalled_s = pool.stalled_s
        with pytest.raises(DeadlineExceededError):
            await pool.run(jobs.pid, Deadline.after_ms(300))
        assert pool.waiting == 0
        assert pool.stalled_s >= stalled_s + 0.3


async def test_waiting_ends_at_the_deadline() -> None:
    """And what nobody waits for any more is not begun."""
    async with pool_of(1) as pool:
        await pool.run(jobs.pid, soon())
        busy = asyncio.create_task(pool.run(partial(jobs.nap, 0.5), soon()))
        await asyncio.sleep(0.05)
        late = pool.run(partial(jobs.keep, "late", 1), Deadline.after_ms(20))
        with pytest.raises(DeadlineExceededError):
            await late
        left = asyncio.create_task(pool.run(partial(jobs.keep, "left", 1), soon()))
        await until(lambda: pool.waiting > 0)
        left.cancel()
        await busy
        assert (await pool.run(partial(jobs.kept, "late"), soon()))[1] is None
        assert (await pool.run(partial(jobs.kept, "left"), soon()))[1] is None


async def test_what_is_kept_is_kept_by_replacements(pool: WorkerPool) -> None:
    """A worker is ready when it keeps all it should, and forgets what is dropped."""
    forget = partial(jobs.forget, "model")
    assert await pool.keep("model", partial(jobs.keep, "model", 5), forget) == 5
    await pool.run(jobs.pid, soon())
    for pid in pool.pids:
        os.kill(pid, signal.SIGKILL)
    seen = await asyncio.gather(*(pool.run(partial(jobs.kept, "model"), soon()) for _ in range(6)))
    assert {value for _, value in seen} == {5}
    await pool.drop("model")
    seen = await asyncio.gather(*(pool.run(partial(jobs.kept, "model"), soon()) for _ in range(6)))
    assert {value for _, value in seen} == {None}


async def test_what_cannot_be_kept_is_not(pool: WorkerPool) -> None:
    """The error is told, or that the worker ended; replacements do not try it again."""
    with pytest.raises(ImageOutOfScopeError):
        await pool.keep("bad", jobs.refuse, int)
    with pytest.raises(CxrError, match="ended"):
        await pool.keep("worse", jobs.crash, int)
    assert await pool.run(jobs.pid, soon())


async def test_workers_end_with_the_pool() -> None:
    """Nothing is left running."""
    async with pool_of(2) as pool:
        await pool.run(jobs.pid, soon())
        pids = pool.pids
    for pid in pids:
        await until(lambda pid=pid: not Path(f"/proc/{pid}").exists())
