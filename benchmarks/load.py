"""The load generator, a process of its own: ``python -m benchmarks.load`` with a plan.

Closed loop: a number of clients, each sending its next request when it has its answer. Open
loop: requests are due at random moments of a given mean rate, whatever becomes of the earlier
ones, and their latency counts from then, so a server that stalls is charged for it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.child import read_plan, say, wait_for_go
from benchmarks.connection import Answer, Connection, Target, build_request, build_requests
from benchmarks.tally import DROPPED, OK, REFUSALS, TIMED_OUT, Record

T = TypeVar("T")

CLOSED, OPEN = "closed", "open"
PAUSE_S = 0.1  # after a refusal that does not say how long to wait


@dataclass(frozen=True)
class Plan:
    """What to send.

    Attributes:
        host: Address of the server.
        port: Its port.
        path: Path and query of every request.
        files: Paths of the files, sent in turn.
        accept: What every request accepts; empty for anything.
        mode: ``closed`` or ``open``.
        seconds: How long.
        ramp_s: How long a closed loop runs before that: its clients begin together, and are
            spread out only after a while.
        concurrency: Clients of a closed loop.
        rate: Requests per second of an open loop.
        timeout_s: How long a client waits.
        tries: How often a refused request is sent at most.
        honour_retry_after: Wait as long as a refusal asks for before the next try.
        probe_file: Index of the file lone requests send.
        probe_before_s: How long lone requests are sent before the load.
        probe_after_s: How long lone requests are sent after it.
        warm_up: Requests sent before anything counts.
    """

    host: str
    port: int
    path: str
    files: tuple[str, ...]
    accept: str = ""
    mode: str = CLOSED
    seconds: float = 5.0
    ramp_s: float = 0.0
    concurrency: int = 1
    rate: float = 1.0
    timeout_s: float = 30.0
    tries: int = 1
    honour_retry_after: bool = False
    probe_file: int = 0
    probe_before_s: float = 0.0
    probe_after_s: float = 0.0
    warm_up: int = 8

    def as_json(self) -> dict[str, Any]:
        """Give it as it is sent to the process."""
        return asdict(self)


@dataclass
class Pool:
    """Connections, taken and given back. Belongs to the event loop.

    Attributes:
        target: Where they go.
        idle: Those nobody uses.
        opened: How many were made.
    """

    target: Target
    idle: list[Connection] = field(default_factory=list)
    opened: int = 0

    async def take(self) -> Connection:
        """Give an open connection.

        Raises:
            OSError: None can be made.
        """
        while self.idle:
            connection = self.idle.pop()  # the last used: the others may grow old and be closed
            if not connection.is_closed:
                return connection
        self.opened += 1
        return await Connection.open(self.target)

    def give_back(self, connection: Connection) -> None:
        """Take back a connection after a whole exchange."""
        if not connection.is_closed:
            self.idle.append(connection)

    def close(self) -> None:
        """Close all that are idle."""
        for connection in self.idle:
            connection.close()


def random_moments(rate: float, seconds: float) -> Iterator[float]:
    """Give the moments at which an open loop sends: the same in every run."""
    gaps = random.Random(0)  # noqa: S311 - no secret
    moment_s = 0.0
    while (moment_s := moment_s + gaps.expovariate(rate)) < seconds:
        yield moment_s


class Generator:
    """Sends requests and remembers what became of each.

    Args:
        plan: What to send.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._target = Target(plan.host, plan.port, plan.path, plan.accept)
        self._requests = build_requests(self._target, tuple(map(Path, plan.files)))
        self.pool = Pool(self._target)
        self.answers: dict[int, str] = {}

    async def warm_up(self) -> None:
        """Send a few requests that do not count."""
        for number in range(self._plan.warm_up):
            await self.send(number % len(self._requests), time.perf_counter(), 0.0)

    async def send(self, file: int, due_s: float, origin_s: float) -> Record:
        """Send one file, again if the plan says so.

        Args:
            file: Its index.
            due_s: When it should have been sent, by ``time.perf_counter``.
            origin_s: Start of the phase, by the same clock.
        """
        plan = self._plan
        end_s = due_s + plan.timeout_s
        status, tries, pause_s = TIMED_OUT, 0, 0.0
        while tries < plan.tries:
            tries += 1
            status, answer = await self._try(file, end_s - time.perf_counter())
            if answer is not None and status == OK and file not in self.answers:
                self.answers[file] = answer.body.decode(errors="replace")
            if status not in REFUSALS or answer is None:
                break
            asked_s = answer.retry_after_s
            pause_s = PAUSE_S if asked_s is None else asked_s
            wait_s = pause_s if plan.honour_retry_after else PAUSE_S
            if tries == plan.tries or time.perf_counter() + wait_s >= end_s:
                break
            await asyncio.sleep(wait_s)
        taken_s = time.perf_counter() - due_s
        return Record(due_s - origin_s, taken_s, status, file, tries, pause_s)

    async def _try(self, file: int, patience_s: float) -> tuple[int, Answer | None]:
        connection = None
        try:
            async with asyncio.timeout(max(0.0, patience_s)):
                connection = await self.pool.take()
                answer = await connection.exchange(self._requests[file])
        except TimeoutError:
            status = TIMED_OUT
        except OSError:
            status = DROPPED
        else:
            self.pool.give_back(connection)
            return answer.status, answer
        if connection is not None:
            connection.close()
        return status, None

    async def closed_loop(self, seconds: float, concurrency: int) -> list[Record]:
        """Send from a number of clients; ends when the last has its answer.

        A client that is refused waits as long as it is asked to, then sends its next request: one
        that came back at once would measure refusals. Records of the ramp begin before 0.
        """
        origin_s = time.perf_counter() + self._plan.ramp_s
        records: list[Record] = []
        following = iter(range(2**62))

        async def client() -> None:
            while (now := time.perf_counter()) - origin_s < seconds:
                number = next(following)
                record = await self.send(number % len(self._requests), now, origin_s)
                records.append(record)
                if record.status in REFUSALS:
                    left_s = origin_s + seconds - time.perf_counter()
                    await asyncio.sleep(max(0.0, min(record.pause_s, left_s)))

        await asyncio.gather(*(client() for _ in range(concurrency)))
        return records

    async def open_loop(self, seconds: float, rate: float) -> asyncio.Future[list[Record]]:
        """Send at random moments; returns when the time is over, answers may be on their way."""
        origin_s = time.perf_counter()
        tasks: list[asyncio.Task[Record]] = []
        for moment_s in random_moments(rate, seconds):
            due_s = origin_s + moment_s
            if (pause_s := due_s - time.perf_counter()) > 0:
                await asyncio.sleep(pause_s)
            file = len(tasks) % len(self._requests)
            tasks.append(asyncio.create_task(self.send(file, due_s, origin_s)))
        await asyncio.sleep(max(0.0, origin_s + seconds - time.perf_counter()))
        return asyncio.gather(*tasks)

    async def probe(self, seconds: float) -> list[Record]:
        """Send the same file again and again, one at a time."""
        origin_s = time.perf_counter()
        records = []
        while (now := time.perf_counter()) - origin_s < seconds:
            records.append(await self.send(self._plan.probe_file, now, origin_s))
        return records

    async def run(self) -> dict[str, list[Record]]:
        """Do what the plan says and give the records of each phase."""
        plan = self._plan
        phases = {"before": await self.probe(plan.probe_before_s)}
        if plan.mode == CLOSED:
            phases["during"] = await self.closed_loop(plan.seconds, plan.concurrency)
            phases["after"] = await self.probe(plan.probe_after_s)
        else:
            coming = await self.open_loop(plan.seconds, plan.rate)
            phases["after"] = await self.probe(plan.probe_after_s)
            phases["during"] = await coming
        return phases


async def measure(plan: Plan, wait: Callable[[], Awaitable[object]]) -> dict[str, Any]:
    """Run a plan and give the result as JSON.

    Args:
        plan: What to send.
        wait: Awaited when all is prepared.
    """
    generator = Generator(plan)
    await generator.warm_up()
    await wait()
    started_s, cpu_started_s = time.perf_counter(), time.process_time()
    phases = await generator.run()
    result = {
        "phases": phases,
        "answers": generator.answers,
        "connections": generator.pool.opened,
        "wall_s": time.perf_counter() - started_s,
        "cpu_s": time.process_time() - cpu_started_s,
    }
    generator.pool.close()
    return result


async def get(target: Target, timeout_s: float = 5.0) -> Answer:
    """Ask for one page on a connection of its own.

    Raises:
        OSError: Nobody answers, or not in time.
    """
    async with asyncio.timeout(timeout_s):
        connection = await Connection.open(target)
        try:
            return await connection.exchange(build_request(target, None))
        finally:
            connection.close()


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run on the fastest event loop there is."""
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return asyncio.run(work)
    return uvloop.run(work)


def main() -> None:
    """Measure as told."""
    plan = Plan(**read_plan())
    say(run_loop(measure(plan, lambda: asyncio.to_thread(wait_for_go))))


if __name__ == "__main__":
    main()
