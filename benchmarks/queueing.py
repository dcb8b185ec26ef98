"""Replicas, queues and arrivals as a discrete-event simulation.

It follows what the service does, not a formula: requests come at random moments, a balancer picks
a replica, the replica refuses what would wait longer than ``CXR_MAX_WAIT_MS``
(:mod:`service.scheduling.admission`), and one core works on one image at a time, oldest first. Of
a first-in-first-out queue the moment a request is done is known when it comes, so a heap of those
moments is all the simulation needs.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal, TypeAlias

from benchmarks.tally import percentile

Balancing: TypeAlias = Literal["random", "least"]
"""As a Kubernetes Service does, or nginx with ``least_conn``."""

Rate: TypeAlias = Callable[[float], float]
"""Requests per second at a moment."""


@dataclass(frozen=True)
class Replica:
    """What every replica is.

    Attributes:
        service_s: Measured times of one image on one core; drawn from at random.
        cores: Images worked on at a time.
        max_wait_s: Longest wait, as predicted, of what is let in.
    """

    service_s: Sequence[float]
    cores: int = 1
    max_wait_s: float = 0.15

    @property
    def mean_s(self) -> float:
        """Mean time of one image on one core."""
        return fmean(self.service_s)

    @property
    def capacity_per_s(self) -> float:
        """Images a second when it is never idle."""
        return self.cores / self.mean_s


@dataclass(frozen=True)
class Autoscaler:
    """The Kubernetes HorizontalPodAutoscaler (algorithm details in its documentation).

    Attributes:
        target: Images under way for each replica that it steers to.
        least: Fewest replicas.
        most: Most replicas.
        period_s: How often it looks (``--horizontal-pod-autoscaler-sync-period``).
        metric_age_s: How old the metric is when it looks: scrape interval and adapter.
        start_s: From the decision to a ready replica: schedule, start, probe.
        stabilisation_s: How long it waits before it takes replicas away.
        tolerance: Share of the target within which it does nothing.
    """

    target: float
    least: int
    most: int
    period_s: float = 15.0
    metric_age_s: float = 15.0
    start_s: float = 10.0
    stabilisation_s: float = 300.0
    tolerance: float = 0.1

    def desired(self, current: int, depth: float) -> int:
        """Give how many replicas it wants; it at most doubles, or adds four, in a period.

        Args:
            current: How many it wanted before; those that are not ready yet have nothing under way.
            depth: Images under way on all of them.
        """
        ratio = depth / (current * self.target)
        if abs(ratio - 1.0) <= self.tolerance:
            return current
        wanted = -int(-current * ratio // 1)
        return max(self.least, min(self.most, wanted, max(2 * current, current + 4)))


@dataclass
class Outcome:
    """What became of simulated requests.

    Attributes:
        latencies_s: Of those answered, with when they came.
        refused_at_s: When those came that were refused.
        replicas: Moments and how many replicas there were from then on.
    """

    latencies_s: list[tuple[float, float]] = field(default_factory=list)
    refused_at_s: list[float] = field(default_factory=list)
    replicas: list[tuple[float, int]] = field(default_factory=list)

    @property
    def refused_share(self) -> float:
        """Share of requests that were refused."""
        refused = len(self.refused_at_s)
        return refused / max(1, refused + len(self.latencies_s))

    def percentile_s(self, share: float) -> float:
        """Give a percentile of the latencies; infinite if nothing was answered."""
        found = percentile([taken_s for _, taken_s in self.latencies_s], share)
        return float("inf") if found is None else found


class _Server:
    """One replica at work."""

    def __init__(self, replica: Replica, ready_s: float) -> None:
        self._replica = replica
        self._free_s = [ready_s] * replica.cores
        self._done_s: list[float] = []

    def under_way(self, now_s: float) -> int:
        """Give how many images are not done."""
        while self._done_s and self._done_s[0] <= now_s:
            heapq.heappop(self._done_s)
        return len(self._done_s)

    def take(self, now_s: float, work_s: float) -> float | None:
        """Give when an image that comes now is done; None if it is refused."""
        replica = self._replica
        if self.under_way(now_s) * replica.mean_s / replica.cores > replica.max_wait_s:
            return None
        done_s = max(now_s, heapq.heappop(self._free_s)) + work_s
        heapq.heappush(self._free_s, done_s)
        heapq.heappush(self._done_s, done_s)
        return done_s


class Fleet:
    """Replicas behind a balancer.

    Args:
        replica: What each is.
        count: How many there are at first.
        balancing: Whom the balancer picks.
        chance: Decides what is random.
        autoscaler: Changes their number; None leaves it.
    """

    def __init__(
        self,
        replica: Replica,
        count: int,
        balancing: Balancing,
        chance: random.Random,
        autoscaler: Autoscaler | None = None,
    ) -> None:
        self._replica = replica
        self._balancing = balancing
        self._chance = chance
        self._scaler = autoscaler
        self._spec = count
        self._servers = [_Server(replica, 0.0) for _ in range(count)]
        self._waiting: list[tuple[int, float, int]] = [
            (0, chance.random(), number) for number in range(count)
        ]
        self._leaving: list[tuple[float, int]] = []
        self._coming: list[tuple[float, int]] = []
        self._look_s = autoscaler.period_s if autoscaler else float("inf")
        self._depths: list[tuple[float, float]] = []
        self._wanted: list[tuple[float, int]] = []
        self.outcome = Outcome(replicas=[(0.0, count)])

    def send(self, now_s: float) -> float | None:
        """Send a request that comes now; give its latency, None if it is refused."""
        self._scale(now_s)
        chosen = self._pick(now_s)
        work_s = self._chance.choice(self._replica.service_s)
        done_s = self._servers[chosen].take(now_s, work_s)
        if self._balancing == "least":
            if done_s is not None:
                heapq.heappush(self._leaving, (done_s, chosen))
            self._offer(chosen, now_s)
        if done_s is None:
            self.outcome.refused_at_s.append(now_s)
            return None
        self.outcome.latencies_s.append((now_s, done_s - now_s))
        return done_s - now_s

    def _offer(self, number: int, now_s: float) -> None:
        if number >= len(self._servers):  # it was taken away
            return
        depth = self._servers[number].under_way(now_s)
        heapq.heappush(self._waiting, (depth, self._chance.random(), number))

    def _pick(self, now_s: float) -> int:
        if self._balancing == "random":
            return self._chance.randrange(len(self._servers))
        while self._leaving and self._leaving[0][0] <= now_s:
            self._offer(heapq.heappop(self._leaving)[1], now_s)
        while True:
            depth, _, number = heapq.heappop(self._waiting)
            is_there = number < len(self._servers)
            if is_there and self._servers[number].under_way(now_s) == depth:
                return number

    def _scale(self, now_s: float) -> None:
        scaler = self._scaler
        if scaler is None:
            return
        while self._look_s <= now_s:
            moment_s = self._look_s
            self._look_s += 1.0
            depth = sum(server.under_way(moment_s) for server in self._servers)
            self._depths.append((moment_s, float(depth)))
            if moment_s % scaler.period_s == 0:
                self._decide(moment_s, scaler)
            while self._coming and self._coming[0][0] <= moment_s:
                self._resize(moment_s, heapq.heappop(self._coming)[1])

    def _decide(self, now_s: float, scaler: Autoscaler) -> None:
        end_s = now_s - scaler.metric_age_s
        seen = [depth for at_s, depth in self._depths if end_s - scaler.period_s < at_s <= end_s]
        if not seen:
            return
        current = self._spec
        wanted = scaler.desired(current, fmean(seen))
        self._wanted.append((now_s, wanted))
        if wanted > current:
            self._spec = wanted
            heapq.heappush(self._coming, (now_s + scaler.start_s, wanted))
            return
        recent = [one for at_s, one in self._wanted if at_s > now_s - scaler.stabilisation_s]
        if now_s >= scaler.stabilisation_s and max(recent) < current:
            self._spec = max(recent)
            self._resize(now_s, self._spec)

    def _resize(self, now_s: float, count: int) -> None:
        grown = range(len(self._servers), count)
        self._servers += [_Server(self._replica, now_s) for _ in grown]
        del self._servers[count:]  # they finish what they have; nothing new comes
        for number in grown:
            self._offer(number, now_s)
        self.outcome.replicas.append((now_s, len(self._servers)))


def arrivals(
    rate: Rate, seconds: float, most_per_s: float, chance: random.Random
) -> Iterator[float]:
    """Give random moments (a Poisson process, thinned where the rate is below its most)."""
    now_s = 0.0
    while (now_s := now_s + chance.expovariate(most_per_s)) < seconds:
        if chance.random() * most_per_s <= rate(now_s):
            yield now_s


def simulate_open(
    replica: Replica,
    count: int,
    rate_per_s: float,
    seconds: float,
    *,
    rate: Rate | None = None,
    moments_s: Iterable[float] | None = None,
    balancing: Balancing = "least",
    autoscaler: Autoscaler | None = None,
    seed: int = 0,
) -> Outcome:
    """Send requests at random moments, whatever becomes of the earlier ones.

    Args:
        replica: What each replica is.
        count: How many there are at first.
        rate_per_s: Requests a second; the most there ever are if ``rate`` is given.
        seconds: How long.
        rate: How the rate changes.
        moments_s: When requests come, instead of at random.
        balancing: Whom the balancer picks.
        autoscaler: Changes the number of replicas.
        seed: Of everything random.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret; the same in every run
    fleet = Fleet(replica, count, balancing, chance, autoscaler)
    if moments_s is None:
        moments_s = arrivals(rate or (lambda _: rate_per_s), seconds, rate_per_s, chance)
    for now_s in moments_s:
        fleet.send(now_s)
    return fleet.outcome


def simulate_closed(
    replica: Replica,
    count: int,
    clients: int,
    seconds: float,
    *,
    pause_refused_s: float = 1.0,
    balancing: Balancing = "least",
    seed: int = 0,
) -> Outcome:
    """Send from clients that wait for their answer before they send again."""
    chance = random.Random(seed)  # noqa: S311 - no secret; the same in every run
    fleet = Fleet(replica, count, balancing, chance)
    coming = [(chance.random() * replica.mean_s, number) for number in range(clients)]
    heapq.heapify(coming)
    while coming[0][0] < seconds:
        now_s, number = heapq.heappop(coming)
        taken_s = fleet.send(now_s)
        after_s = pause_refused_s if taken_s is None else taken_s
        heapq.heappush(coming, (now_s + after_s, number))
    return fleet.outcome


def replicas_needed(
    replica: Replica,
    rate_per_s: float,
    target_s: float,
    *,
    refused_share: float = 0.001,
    balancing: Balancing = "least",
    requests: int = 20_000,
) -> int:
    """Give the fewest replicas that answer so many images a second within a p99.

    Args:
        replica: What each is.
        rate_per_s: Images a second, at random moments.
        target_s: The p99 to keep.
        refused_share: Largest share of refusals.
        balancing: Whom the balancer picks.
        requests: How many are simulated for each count tried.
    """
    seconds = max(10.0, requests / rate_per_s)

    def holds(count: int) -> bool:
        seen = simulate_open(replica, count, rate_per_s, seconds, balancing=balancing)
        return seen.refused_share <= refused_share and seen.percentile_s(0.99) <= target_s

    low = max(0, int(rate_per_s / replica.capacity_per_s))  # fewer can never be enough
    high = low + 1
    while not holds(high):
        low, high = high, 2 * high - int(rate_per_s / replica.capacity_per_s) + 1
        if high > 100 + 20 * rate_per_s / replica.capacity_per_s:
            raise ValueError(f"no number of replicas keeps a p99 of {target_s * 1000:.0f} ms")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class Device:
    """An engine that runs batches.

    Attributes:
        fixed_s: Time of a run besides its images.
        image_s: Time of a run for each image.
        max_batch: Most images of a run.
    """

    fixed_s: float
    image_s: float
    max_batch: int = 32


def simulate_window(
    device: Device, rate_per_s: float, window_s: float, requests: int = 20_000, seed: int = 0
) -> tuple[float, float, float]:
    """Give p50 and p99 in seconds, and images per run, for a batch window.

    A lone image never waits; one that found the device busy does, for company, until the window
    of the oldest is over once the device is free (:mod:`service.scheduling.batch_queue`).
    """
    chance = random.Random(seed)  # noqa: S311 - no secret; the same in every run
    came_s: list[float] = []
    now_s = 0.0
    for _ in range(requests):
        now_s += chance.expovariate(rate_per_s)
        came_s.append(now_s)
    taken_s: list[float] = []
    free_s, first, runs = 0.0, 0, 0
    while first < requests:
        oldest_s = came_s[first]
        begin_s = max(free_s, oldest_s)
        if oldest_s < free_s:  # it found the device busy
            full_s = came_s[min(first + device.max_batch, requests) - 1]
            begin_s = max(free_s, min(oldest_s + window_s, full_s))
        last = first
        while last < requests and last - first < device.max_batch and came_s[last] <= begin_s:
            last += 1
        free_s = begin_s + device.fixed_s + device.image_s * (last - first)
        taken_s += [free_s - one_s for one_s in came_s[first:last]]
        first, runs = last, runs + 1
    p50_s, p99_s = percentile(taken_s, 0.5), percentile(taken_s, 0.99)
    return p50_s or 0.0, p99_s or 0.0, requests / runs
