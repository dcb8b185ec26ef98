"""Processes that share the work, each at one job at a time."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from service.deadline import Clock, Deadline
from service.errors import DeadlineExceededError, NotReadyError, TooCostlyError, WorkersEndedError
from service.lifecycle import RETRY_DRAINING_S
from service.scheduling.cores import NOT_BEGUN, Batching
from service.scheduling.fair_queue import FairQueue
from service.telemetry.logs import LOG, log_event
from service.telemetry.timeline import identity
from service.workers.messages import JobFailedError
from service.workers.process import is_there
from service.workers.spawning import Spawned, spawn
from service.workers.worker import Worker, WorkerEndedError

T = TypeVar("T")

ENOUGH = 2
"""Waiting jobs from which a worker gets its next ones before it is done: with fewer of them batches
would be small."""

PATIENCE_S = 2.0
"""For each image of a batch. A batch that takes longer is ended with its worker, and each image is
done alone; what was to be done after a lone one is done by another worker."""

LOOK_EVERY_S = 0.05
MOST_LOST = 2
"""Workers that may end at one job: the second one says that it was no chance."""

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 5.0
"""Before a worker is replaced that ended before it was ready."""

ENDED_TWICE = (
    "Reading the image ended the process that read it, twice. It is damaged, or made to do harm."
)
CLOSED = "The service is stopping. Try another replica."
ENDED_LOADING = "The worker processes ended while they loaded it. There may be too little memory."
TOO_MUCH_MEMORY = "Reading the image takes more memory than is given to one image."
TOO_LONG = "Reading the image takes longer than one image may."


def _ignore() -> None:
    """Do nothing."""


@dataclass(eq=False)
class _Job:
    """A job that waits or is with a worker.

    Attributes:
        call: What to do.
        answer: Whoever waits for it.
        deadline: When nobody does any more.
        flow: Whose share of the time it is.
        batching: Of those that may be done with it.
        identity: Of its request, for log lines.
        lost: Workers that ended at it.
        is_alone: Whether it is done with no other.
        is_given: Whether it has left the queue.
    """

    call: Callable[[], Any]
    answer: asyncio.Future[Any]
    deadline: Deadline
    flow: str
    batching: Batching | None = None
    identity: dict[str, str] = field(default_factory=identity)
    lost: int = 0
    is_alone: bool = False
    is_given: bool = False

    def fail(self, error: Exception) -> None:
        """Tell why there is no answer, if nobody was told anything."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def succeed(self, value: Any) -> None:
        """Tell the answer, if nobody was told anything."""
        if not self.answer.done():
            self.answer.set_result(value)

    def goes_with(self, other: _Job) -> bool:
        """Return whether both can be done at once."""
        is_kin = self.batching is not None and self.batching is other.batching
        return is_kin and not self.is_alone and not other.is_alone


def _call_of(jobs: Sequence[_Job]) -> Callable[[], Any]:
    """Return what a worker does for jobs that go with each other."""
    if len(jobs) == 1:
        return jobs[0].call
    batching = jobs[0].batching
    assert batching is not None, "they go with each other"
    return partial(batching.do, [job.call for job in jobs])


@dataclass(frozen=True)
class _Kept:
    """What every worker does once, and how it is undone."""

    job: Callable[[], Any]
    undo: Callable[[], Any]


@dataclass(eq=False)
class _Place:
    """A worker's place in the pool.

    Attributes:
        batches: What it is at, and what it does next.
        begun_s: Since when it is at the first.
        verdict: Why it was ended, for whoever waits for its only job.
        kept: What it keeps or is about to, by key.
        base_bytes: Memory it had when it was last seen without a job.
        is_ready: Whether it keeps everything it should.
    """

    worker: Worker
    batches: deque[list[_Job]] = field(default_factory=deque)
    begun_s: float = 0.0
    verdict: Exception | None = None
    kept: dict[str, asyncio.Future[Any]] = field(default_factory=dict)
    base_bytes: int = 0
    is_ready: bool = False

    def lacks(self, key: str) -> bool:
        """Whether the worker does not keep what it should."""
        one = self.kept.get(key)
        return one is None or (one.done() and (one.cancelled() or one.exception() is not None))

    @property
    def is_loading(self) -> bool:
        """Whether it is about to keep something, which takes memory."""
        return not all(one.done() for one in self.kept.values())

    def keep(self, key: str, kept: _Kept) -> asyncio.Future[Any]:
        """Have the worker do what it should keep, once."""
        if key not in self.kept:
            self.kept[key] = self.worker.ask(kept.job, aside=True)
        return asyncio.shield(self.kept[key])


class WorkerPool:
    """Runs jobs in processes, shared fairly among flows. Belongs to the event loop.

    A job is a callable that can be pickled; so must be what it gives, of classes this process
    knows. A worker that ends is replaced. Its job is done by another one, once; a job that takes
    too long or too much memory is ended with its worker.

    Args:
        size: Number of processes.
        longest_s: Longest time of a job that somebody waits for.
        most_bytes: Most memory of a job, beside what its worker had before; 0 for any.
        patience_s: Time after which a job holds up no others, and ends with its worker if others
            are done with it, or nobody waits for it any more.
        stands_back: Whether others have precedence on the cores.
    """

    def __init__(
        self,
        size: int,
        *,
        longest_s: float,
        most_bytes: int = 0,
        patience_s: float = PATIENCE_S,
        stands_back: bool = False,
        clock: Clock = time.monotonic,
    ) -> None:
        self.size = size
        self._longest_s = longest_s
        self._most_bytes = most_bytes
        self._patience_s = patience_s
        self._stands_back = stands_back
        self._clock = clock
        self._queue: FairQueue[_Job] = FairQueue()
        self._places: list[_Place] = []
        self._idle: list[_Place] = []
        self._kept: dict[str, _Kept] = {}
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._pause_s = FIRST_PAUSE_S
        self._is_closed = False
        self._alone_since_s: float | None = None
        self._begun = 0
        self._spawned: list[Spawned] = []
        self.ended = 0
        self._ended_cpu_s = 0.0
        self.on_ended: Callable[[], None] = _ignore

    @property
    def waiting(self) -> int:
        """Number of jobs that have not begun."""
        return len(self._queue)

    def waiting_of(self, flow: str) -> int:
        """Return the number of a flow's jobs that have not begun."""
        return sum(job.flow == flow and not job.answer.done() for job in self._queue)

    @property
    def is_ready(self) -> bool:
        """Whether there is a worker that keeps all it should."""
        return any(place.is_ready for place in self._places)

    @property
    def pids(self) -> list[int]:
        """Numbers of the processes."""
        return [place.worker.pid for place in self._places]

    @property
    def taken(self) -> tuple[int, float]:
        """Resident bytes and CPU seconds of the processes."""
        workers = [place.worker for place in self._places]
        cpu_s = self._ended_cpu_s + sum(one.cpu_s for one in workers)
        return sum(one.resident_bytes for one in workers), cpu_s

    @property
    def stalled_s(self) -> float:
        """Seconds for which every worker has been at one job, or none has been there."""
        ready = [place for place in self._places if place.is_ready]
        if not all(place.batches for place in ready):
            return 0.0
        if not ready:
            return self._clock() - self._alone_since_s if self._alone_since_s is not None else 0.0
        return max(0.0, self._clock() - max(place.begun_s for place in ready))

    def start(self, spawned: Sequence[Spawned] = ()) -> None:
        """Start the processes but for those that were.

        They are ready when they keep what they should.
        """
        self._spawned = list(spawned)
        self._alone_since_s = self._clock()
        for _ in range(self.size):
            self._begin_worker()

    async def run(
        self,
        job: Callable[[], T],
        deadline: Deadline,
        *,
        flow: str = "",
        cost_s: float = 0.0,
        batching: Batching | None = None,
    ) -> T:
        """Await a job; cancelled, it is dropped unless it has begun.

        Raises:
            DeadlineExceededError: It was not done before the deadline.
            TooCostlyError: It took too long, too much memory, or ended two workers.
            JobFailedError: It raised what is no deliberate error.
            CxrError: What the job raises.
        """
        if self._is_closed:
            raise NotReadyError(CLOSED, RETRY_DRAINING_S)
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        waiting = _Job(job, answer, deadline, flow, batching)
        timer = answer.get_loop().call_later(
            deadline.remaining_s, waiting.fail, DeadlineExceededError(NOT_BEGUN)
        )
        self._queue.put(waiting, flow, cost_s)
        self._dispatch()
        try:
            return await answer
        finally:
            timer.cancel()
            if not waiting.is_given:
                self._queue.drop(waiting)

    async def keep(self, key: str, job: Callable[[], T], undo: Callable[[], Any]) -> T:
        """Have every worker do a job, also those that come later, and return one's answer.

        It goes on beside other jobs. What it leaves in the process is there for them, until
        ``undo`` is done.

        Raises:
            WorkersEndedError: Workers ended at it.
            CxrError: What the job raises; nothing is kept.
        """
        kept = _Kept(job, undo)
        for _ in range(MOST_LOST):
            while not self._places and not self._is_closed:
                self._changed.clear()
                await self._changed.wait()
            if self._is_closed:
                break
            try:
                told = await self._keep_everywhere(key, kept)
            except asyncio.CancelledError:  # whoever wanted it does no longer
                self._go_on(self._undo(key, kept))
                raise
            failures = [one for one in told if isinstance(one, BaseException)]
            for failure in failures:
                if not isinstance(failure, WorkerEndedError):
                    await self._undo(key, kept)
                    raise failure
            if len(failures) < len(told):
                self._kept[key] = kept
                await self._keep_everywhere(key, kept)  # those that came meanwhile
                for place in self._places:
                    if place.is_ready and place.lacks(key):
                        place.worker.kill()
                return next(one for one in told if not isinstance(one, BaseException))
        raise WorkersEndedError(ENDED_LOADING)

    async def drop(self, key: str) -> None:
        """Have every worker undo what it keeps under a key."""
        kept = self._kept.pop(key, None)
        if kept is not None and not self._is_closed:
            await self._undo(key, kept)

    def close(self) -> None:
        """Drop what has not begun and end the workers."""
        self._is_closed = True
        self._changed.set()
        for job in self._queue:
            job.answer.cancel()
        self._queue.clear()
        for task in self._tasks:
            task.cancel()
        for place in list(self._places):
            place.worker.close()
        if self._watch is not None:
            self._watch.cancel()

    async def _keep_everywhere(self, key: str, kept: _Kept) -> list[Any]:
        asked = [place.keep(key, kept) for place in self._places]
        return await asyncio.gather(*asked, return_exceptions=True)

    async def _undo(self, key: str, kept: _Kept) -> None:
        having = [place for place in self._places if place.kept.pop(key, None) is not None]
        asked = {place.worker.ask(kept.undo, aside=True): place for place in having}
        if not asked:
            return
        done, hung = await asyncio.wait(asked, timeout=self._longest_s)
        for one in done:
            one.exception()  # it ended, or cannot undo it: its memory is not worth more words
        for one in hung:
            asked[one].worker.kill()

    def _begin_worker(self) -> None:
        try:
            spawned = self._spawned.pop(0) if self._spawned else self._spawn_one()
        except OSError as error:  # the system has no process for us now
            log_event(logging.ERROR, "worker not started", error)
            self._replace_later()
            return
        self._begun += 1
        worker = Worker(spawned, lambda _: self._on_end(place))
        place = _Place(worker)
        self._places.append(place)
        self._go_on(self._make_ready(place))
        self._changed.set()

    def _spawn_one(self) -> Spawned:
        level, is_quiet = LOG.getEffectiveLevel(), self._begun > 0
        return spawn(level, stands_back=self._stands_back, is_quiet=is_quiet)

    def _go_on(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make_ready(self, place: _Place) -> None:
        try:
            await place.worker.ask(is_there)
            while missing := [key for key in self._kept if key not in place.kept]:
                for key in missing:
                    if (kept := self._kept.get(key)) is not None:  # it may be dropped meanwhile
                        await place.keep(key, kept)
        except WorkerEndedError:
            return
        except Exception as error:  # a bundle that is no longer there
            log_event(logging.ERROR, "worker not ready", error)
            place.worker.kill()
            return
        place.is_ready, self._pause_s = True, FIRST_PAUSE_S
        place.base_bytes = place.worker.resident_bytes
        self._alone_since_s = None
        self._idle.append(place)
        self._dispatch()

    def _dispatch(self) -> None:
        while self._idle and (jobs := self._take()):
            self._give(self._idle.pop(), jobs)
        # With its next work at hand a worker need not wait until this process comes to it.
        for place in self._places:
            is_due = len(self._queue) >= ENOUGH and len(place.batches) == 1
            if is_due and (jobs := self._take()):
                self._give(place, jobs)

    def _give(self, place: _Place, jobs: list[_Job]) -> None:
        if not place.batches:
            place.begun_s = self._clock()
        try:
            done = place.worker.ask(_call_of(jobs), jobs[0].identity)
        except Exception as error:  # it cannot be sent: there is no memory for it
            for job in jobs:
                job.fail(error)
            if not place.batches:
                self._idle.append(place)
            return
        place.batches.append(jobs)
        done.add_done_callback(partial(self._on_done, place, jobs))
        if self._watch is None:
            self._watch = done.get_loop().call_later(LOOK_EVERY_S, self._look)

    def _take(self) -> list[_Job]:
        """Take the next job, with those that go with it: one worker's share of what waits."""
        jobs: list[_Job] = []
        share = 1
        while self._queue and len(jobs) < share:
            if jobs and not self._queue.next.goes_with(jobs[0]):
                break
            job = self._queue.take()
            if job.answer.done():
                continue
            if job.deadline.is_over:
                job.fail(DeadlineExceededError(NOT_BEGUN))
                continue
            if not jobs and job.batching is not None:
                share = min(job.batching.most, -(-(len(self._queue) + 1) // self.size))
            job.is_given = True
            jobs.append(job)
        return jobs

    def _on_done(self, place: _Place, jobs: list[_Job], done: asyncio.Future[Any]) -> None:
        error = done.exception()
        if isinstance(error, WorkerEndedError):
            self._on_lost(place)
            return
        if not place.batches or place.batches[0] is not jobs:
            log_event(logging.ERROR, "worker out of order")
            place.worker.kill()
            return
        place.batches.popleft()
        place.begun_s = self._clock()
        self._answer(jobs, error, None if error is not None else done.result())
        if not place.batches and place.verdict is None and place in self._places:
            place.base_bytes = place.worker.resident_bytes
            self._idle.append(place)
        self._dispatch()

    def _answer(self, jobs: list[_Job], error: BaseException | None, found: Any) -> None:
        """Tell whoever waits for jobs what a worker made of them."""
        values = [found] if len(jobs) == 1 else found
        if error is None and isinstance(values, list) and len(values) == len(jobs):
            for job, value in zip(jobs, values, strict=True):
                job.succeed(value)
        elif len(jobs) == 1:
            jobs[0].fail(error if isinstance(error, Exception) else JobFailedError())
        else:  # it is one's fault, not all of theirs
            self._do_alone(jobs)

    def _do_alone(self, jobs: Sequence[_Job]) -> None:
        """Have jobs done next, each alone and in their order."""
        for job in reversed(jobs):
            job.is_alone, job.is_given = True, False
            self._queue.put_back(job)

    def _on_lost(self, place: _Place) -> None:
        """Have what an ended worker had done by others, or tell why it is not."""
        if not place.batches:
            return
        at_work, *rest = place.batches
        later = list(itertools.chain.from_iterable(rest))  # which had not begun
        place.batches.clear()
        if self._is_closed:
            for job in (*at_work, *later):
                job.answer.cancel()
            return
        again = []
        for job in at_work:
            job.lost += 1
            if place.verdict is not None and len(at_work) == 1:
                job.fail(place.verdict)
            elif job.lost < MOST_LOST:
                again.append(job)
            else:
                job.fail(TooCostlyError(ENDED_TWICE))
        again += later
        self._do_alone(again)
        self._dispatch()

    def _hand_on(self, place: _Place) -> None:
        """Have others do what has not begun behind a job that takes long."""
        for index in range(1, len(place.batches)):
            jobs = place.batches[index]
            later = list(jobs)
            jobs.clear()  # what comes back of them is not waited for
            self._do_alone(later)
        self._dispatch()

    def _on_end(self, place: _Place) -> None:
        self._places.remove(place)
        if place in self._idle:
            self._idle.remove(place)
        if self._alone_since_s is None and not self.is_ready:
            self._alone_since_s = self._clock()
        if self._is_closed:
            return
        self.ended += 1
        self._ended_cpu_s += place.worker.cpu_s
        self.on_ended()
        log_event(logging.WARNING, "worker ended", pid=place.worker.pid)
        if place.is_ready:
            self._begin_worker()
        else:
            self._replace_later()

    def _replace_later(self) -> None:
        asyncio.get_running_loop().call_later(self._pause_s, self._replace)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _replace(self) -> None:
        if not self._is_closed:
            self._begin_worker()

    def _look(self) -> None:
        """End workers whose job takes too much."""
        self._watch, now_s = None, self._clock()
        busy = [place for place in self._places if place.batches]
        for place in busy:
            if place.verdict is None:
                self._look_at(place, now_s - place.begun_s)
        if busy and not self._is_closed:
            loop = asyncio.get_running_loop()
            self._watch = loop.call_later(LOOK_EVERY_S, self._look)

    def _look_at(self, place: _Place, taken_s: float) -> None:
        at_work, most_bytes = place.batches[0], self._most_bytes
        is_long = taken_s > self._patience_s * max(1, len(at_work))
        is_in_vain = len(at_work) > 1 or all(job.answer.done() for job in at_work)
        taken_bytes = place.worker.resident_bytes - place.base_bytes
        if taken_s > self._longest_s or (is_long and is_in_vain):
            place.verdict = DeadlineExceededError(TOO_LONG)
        elif most_bytes and not place.is_loading and taken_bytes > most_bytes:
            place.verdict = TooCostlyError(TOO_MUCH_MEMORY)
        elif is_long:
            self._hand_on(place)
        if place.verdict is not None:
            place.worker.kill()
