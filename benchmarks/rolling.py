"""Replicas that are replaced, taken away and killed under load, and what that costs requests.

Nothing here knows a cluster; it does what one does. A pod that is deleted gets two things at once:
its preStop hook and then SIGTERM from the kubelet, and, some time later, its address is taken from
whoever balances the load. Requests go on meanwhile from clients that never pause.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.connection import Connection, Target, build_requests
from benchmarks.nginx import ALWAYS, NEVER, UNSENT, Nginx
from benchmarks.server import Server, start_service
from benchmarks.tally import DROPPED, OK, percentile
from service.client import AsyncClient
from service.client.exchange import Retry, ServiceError

FULL = 429
PAUSE_FULL_S = 0.05
RETRY = Retry(attempts=8, base_s=0.1, longest_s=2.0)


@dataclass(frozen=True)
class Plan:
    """What is done.

    Attributes:
        bundles: Folder of bundles.
        model: The one that is served.
        files: Sent in turn.
        folder: For nginx's files.
        replicas: How many there are.
        clients: Each sends its next request when it has its answer.
        requests: Least requests during the rolling updates, and during the scale-down.
        kills: Replicas killed in each of the ways.
        pre_stop_s: How long a pod that is deleted goes on before SIGTERM.
        propagation_s: From the deletion of a pod until nobody sends to it: preStop is longer.
        unguarded: Also measure what an update costs without preStop.
        settings: CXR_* variables of every replica.
    """

    bundles: Path
    model: str
    files: tuple[Path, ...]
    folder: Path
    replicas: int = 3
    clients: int = 8
    requests: int = 5000
    kills: int = 5
    pre_stop_s: float = 2.0
    propagation_s: float = 0.8
    unguarded: bool = True
    settings: Mapping[str, str] = field(
        default_factory=lambda: {
            "CXR_WORKERS": "1",
            "CXR_EXPLAIN": "off",
            "CXR_PROVIDER": "cpu",
            "CXR_DICOM_RESULTS": "off",
        }
    )


class Fleet:
    """Replicas behind nginx. Belongs to the event loop; what blocks runs on threads."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._repeat = NEVER
        self.replicas: list[Server] = []
        self.nginx: Nginx | None = None

    @property
    def target(self) -> Target:
        """Where requests go."""
        assert self.nginx is not None
        return self.nginx.target

    async def start(self) -> None:
        """Start all replicas and nginx before them."""
        for _ in range(self._plan.replicas):
            self.replicas.append(await self._start_one())
        targets = [one.target for one in self.replicas]
        self.nginx = await asyncio.to_thread(Nginx, self._plan.folder, targets, self._repeat)

    async def repeat(self, when: str) -> None:
        """Choose when nginx asks another replica."""
        self._repeat = when
        await self._publish()

    async def add(self) -> None:
        """Start a replica, wait until it is ready, and send to it."""
        self.replicas.append(await self._start_one())
        await self._publish()

    async def retire(self, pre_stop_s: float) -> None:
        """Delete the oldest replica as Kubernetes does."""
        leaving = self.replicas.pop(0)

        async def kubelet() -> None:
            await asyncio.sleep(pre_stop_s)
            await asyncio.to_thread(leaving.stop)

        async def endpoints() -> None:
            await asyncio.sleep(self._plan.propagation_s)
            await self._publish()

        await asyncio.gather(kubelet(), endpoints())

    async def kill(self) -> None:
        """Kill the oldest replica as a lack of memory would; then it is noticed and replaced."""
        dead = self.replicas.pop(0)
        dead.process.kill()
        await asyncio.sleep(self._plan.propagation_s)
        await asyncio.to_thread(dead.stop)
        await self.add()

    async def stop(self) -> None:
        """End everything."""
        if self.nginx is not None:
            await asyncio.to_thread(self.nginx.stop)
        await asyncio.gather(*(asyncio.to_thread(one.stop) for one in self.replicas))

    async def _publish(self) -> None:
        assert self.nginx is not None
        targets = [one.target for one in self.replicas]
        await asyncio.to_thread(self.nginx.use, targets, self._repeat)

    async def _start_one(self) -> Server:
        plan = self._plan
        sample = plan.files[0].read_bytes()
        return await asyncio.to_thread(
            start_service, plan.bundles, plan.model, sample, plan.settings
        )


class Traffic:
    """Clients that send without a pause, each request on a connection of its own.

    So nothing of what is counted comes from a connection that nginx closed at a reload just when
    a client used it again.

    Attributes:
        statuses: How often what was answered.
        latencies_s: Of the requests answered 200.
    """

    def __init__(self, target: Target, files: tuple[Path, ...]) -> None:
        self._target = target
        self._requests = build_requests(target, files)
        self._going = True
        self.statuses: Counter[int] = Counter()
        self.latencies_s: list[float] = []

    @property
    def sent(self) -> int:
        """Requests that were answered or lost."""
        return self.statuses.total()

    async def send(self, number: int) -> None:
        """Send until told to stop."""
        while self._going:
            number += 1
            begun_s = time.perf_counter()
            status = await self._ask(self._requests[number % len(self._requests)])
            self.statuses[status] += 1
            if status == OK:
                self.latencies_s.append(time.perf_counter() - begun_s)
            elif status == FULL:
                await asyncio.sleep(PAUSE_FULL_S)

    async def _ask(self, request: bytes) -> int:
        connection = None
        try:
            connection = await Connection.open(self._target)
            return (await connection.exchange(request)).status
        except OSError:
            return DROPPED
        finally:
            if connection is not None:
                connection.close()

    def stop(self) -> None:
        """Let every client have its last answer."""
        self._going = False

    def figures(self) -> dict[str, Any]:
        """Give what was seen; lost is whatever is neither 200 nor 429."""
        p99_s = percentile(self.latencies_s, 0.99)
        return {
            "requests": self.sent,
            "ok": self.statuses[OK],
            "full": self.statuses[FULL],
            "lost": self.sent - self.statuses[OK] - self.statuses[FULL],
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "p99_ms": None if p99_s is None else round(p99_s * 1000, 1),
        }


class RetryingTraffic(Traffic):
    """The same from clients that retry: our own."""

    async def send(self, number: int) -> None:
        """Send until told to stop."""
        files = [request.partition(b"\r\n\r\n")[2] for request in self._requests]
        address = f"http://{self._target.host}:{self._target.port}"
        async with AsyncClient(address, retry=RETRY) as client:
            while self._going:
                number += 1
                begun_s = time.perf_counter()
                try:
                    await client.predict(files[number % len(files)])
                except ServiceError as error:
                    self.statuses[error.status] += 1
                except httpx.TransportError:
                    self.statuses[DROPPED] += 1
                else:
                    self.statuses[OK] += 1
                    self.latencies_s.append(time.perf_counter() - begun_s)


@asynccontextmanager
async def flowing(
    plan: Plan, fleet: Fleet, kind: Callable[..., Traffic] = Traffic
) -> AsyncIterator[Traffic]:
    """Keep requests coming meanwhile."""
    traffic = kind(fleet.target, plan.files)
    clients = [asyncio.create_task(traffic.send(100 * i)) for i in range(plan.clients)]
    try:
        yield traffic
    finally:
        traffic.stop()
        await asyncio.gather(*clients)


async def rolling(plan: Plan) -> dict[str, dict[str, Any]]:
    """Do all of it and give the figures of each part.

    Raises:
        MeasureError: nginx or a replica does not start.
    """
    fleet = Fleet(plan)
    figures: dict[str, dict[str, Any]] = {}
    try:
        await fleet.start()
        figures["rolling updates"] = await _roll(plan, fleet, plan.requests, plan.pre_stop_s)
        figures["scale-down to one"] = await _scale_down(plan, fleet)
        if plan.unguarded:
            figures["rolling update without preStop"] = await _roll(plan, fleet, 0, 0.0)
        for name, when, kind in (
            ("killed, nothing repeated once sent", UNSENT, Traffic),
            ("killed, clients retry", UNSENT, RetryingTraffic),
            ("killed, nginx repeats", ALWAYS, Traffic),
        ):
            await fleet.repeat(when)
            async with flowing(plan, fleet, kind) as traffic:
                for _ in range(plan.kills):
                    await asyncio.sleep(0.5)
                    await fleet.kill()
            figures[name] = traffic.figures() | {"kills": plan.kills, "clients": plan.clients}
    finally:
        await fleet.stop()
    return figures


async def _roll(plan: Plan, fleet: Fleet, requests: int, pre_stop_s: float) -> dict[str, Any]:
    """Replace every replica, again and again until so many requests were sent."""
    replaced = 0
    async with flowing(plan, fleet) as traffic:
        while replaced < plan.replicas or traffic.sent < requests:
            await fleet.add()
            await fleet.retire(pre_stop_s)
            replaced += 1
    return traffic.figures() | {"replaced": replaced}


async def _scale_down(plan: Plan, fleet: Fleet) -> dict[str, Any]:
    """Take replicas away until one is left, and add them again, until enough were sent."""
    removed = 0
    async with flowing(plan, fleet) as traffic:
        while not removed or traffic.sent < plan.requests:
            while len(fleet.replicas) > 1:
                await fleet.retire(plan.pre_stop_s)
                removed += 1
            while len(fleet.replicas) < plan.replicas:
                await fleet.add()
    return traffic.figures() | {"removed": removed}
