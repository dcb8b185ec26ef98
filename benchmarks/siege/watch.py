"""A server under attack: its cost, its liveness and its honest clients from beginning to end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any, Protocol

from benchmarks.child import Child
from benchmarks.process import cpu_s_of
from benchmarks.siege.clients import Reply
from benchmarks.siege.measure import Cost, wait_idle
from benchmarks.siege.row import Bars, Sighting
from benchmarks.siege.watchers import Honest

MODULE = "benchmarks.siege.watchers"
USUAL = Bars()
CALM_S = 1.0
LATE_MS = 20.0
SETTLE_S = 2.0
"""Watched once the attack is over, so that what it left behind is seen, too."""


class Watched(Protocol):
    """What is attacked: a process that answers ``/health/live``."""

    @property
    def pid(self) -> int:
        """Of its process."""

    @property
    def port(self) -> int:
        """Of HTTP."""

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""


@contextmanager
def watching(
    server: Watched, honest: Sequence[Honest] = (), bars: Bars = USUAL
) -> Iterator[Sighting]:
    """Watch a server while it is attacked, and a little longer.

    First it is watched in peace: what probes and honest clients cost is no cost of the attack.

    Args:
        server: Runs.
        honest: Who else asks.
        bars: Say what is slow.

    Yields:
        What the attack adds to; the rest is filled in at the end.
    """
    seen = Sighting()
    with ExitStack() as stack:
        children = [stack.enter_context(Child(MODULE, plan)) for plan in _plans(server, honest)]
        for child in children:
            child.wait_ready()
        calm = children if honest else children[:1]
        wait_idle(server.pid, SETTLE_S)
        for child in calm:
            child.go()
        before_s, began_s = cpu_s_of(server.pid), time.monotonic()
        time.sleep(CALM_S)
        calm_cores = (cpu_s_of(server.pid) - before_s) / (time.monotonic() - began_s)
        began_s = time.monotonic()
        with Cost(server.pid) as cost:
            yield seen
            time.sleep(SETTLE_S)
        elapsed_s = time.monotonic() - began_s
        for child in children:
            child.go()  # the second word ends it
        _take(seen, [child.read() for child in children], bars)
    seen.cpu_s = max(0.0, cost.cpu_s - calm_cores * elapsed_s)
    seen.memory_bytes = cost.memory_bytes
    seen.facts["alive"] = server.is_alive


def _plans(server: Watched, honest: Sequence[Honest]) -> list[dict[str, Any]]:
    # Processes of their own: an honest client's work must not delay a probe.
    plans: list[dict[str, Any]] = [{"port": server.port, "live": True, "honest": []}]
    if honest:
        asking = [asdict(one) for one in honest]
        plans.append({"port": server.port, "live": False, "honest": asking})
    return plans


def _take(seen: Sighting, told: list[dict[str, Any]], bars: Bars) -> None:
    probes = told[0]["probes"]
    seen.live_ms, seen.late_ms = probes["worst_ms"], probes["late_ms"]
    if seen.late_ms > LATE_MS:
        seen.notes.append(f"the prober itself woke up to {seen.late_ms:.0f} ms late")
    seen.facts["live whenever asked"] = probes["failed"] == 0
    for one in (client for process in told for client in process["honest"]):
        seen.asked += len(one["seconds"]) + len(one["failed"])
        seen.failed += len(one["failed"])
        seen.slow += sum(taken_s > bars.slow_s for taken_s in one["seconds"])
        if one["failed"]:
            seen.notes.append(f"first failure: {one['failed'][0]}")
        if one["seconds"]:
            seen.notes.append(f"slowest honest answer {max(one['seconds']):.2f} s")


def add(seen: Sighting, replies: Sequence[Reply]) -> None:
    """Note what an attack was answered with."""
    seen.answers += [str(reply) for reply in replies]
    seen.sent_bytes = max([seen.sent_bytes, *(reply.sent_bytes for reply in replies)])
