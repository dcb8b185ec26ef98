"""Three times as many requests as can be answered, from clients that wait one second."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.contest import Loaded, lone_ms, plan_for, run_load
from benchmarks.load import OPEN
from benchmarks.server import Server
from benchmarks.tally import Summary, recovery_s, share_within, summarise

FACTOR = 3.0
PATIENCE_S = 1.0
LONE_S = 2.0
AFTER_S = 3 * LONE_S
"""How long a server is watched afterwards, and the recovery of one that did not recover then."""


class OverloadFigures(TypedDict):
    """What an overload gave."""

    offered_per_s: float
    good_per_s: float
    good_share: float
    told_share: float
    lone_before_ms: float | None
    recovery_s: float
    cpu_s: float
    generator_cores: float
    rss_mib: float
    summary: Summary


def account(loaded: Loaded, seconds: float) -> OverloadFigures:
    """Give the figures of an overload.

    Good is what was answered 200 within the client's patience, counted from the moment the
    request was due; told also counts refusals within it. An answer that nobody waited for any
    longer is work for nothing and counts as timed out.

    Args:
        loaded: Phases ``before``, ``during`` and ``after``.
        seconds: How long the overload lasted.
    """
    during = loaded.phases["during"]
    lone = lone_ms(loaded, "before")
    recovered = None if lone is None else recovery_s(loaded.phases["after"], lone / 1000)
    good = share_within(during, PATIENCE_S)
    return {
        "offered_per_s": len(during) / seconds,
        "good_per_s": good * len(during) / seconds,
        "good_share": good,
        "told_share": share_within(during, PATIENCE_S, good_only=False),
        "lone_before_ms": lone,
        "recovery_s": AFTER_S if recovered is None else recovered,
        "cpu_s": loaded.cpu_s,
        "generator_cores": loaded.generator_cpu_s / loaded.wall_s,
        "rss_mib": 0.0,
        "summary": summarise(during, seconds),
    }


def overload(
    server: Server,
    files: tuple[Path, ...],
    typical: Path,
    capacity_per_s: float,
    seconds: float,
    *,
    tries: int = 1,
    honour_retry_after: bool = False,
) -> OverloadFigures:
    """Overload a server and watch it recover.

    Args:
        server: The server.
        files: Sent in turn.
        typical: Sent by the lone requests before and after.
        capacity_per_s: What it answers per second when it is full.
        seconds: How long.
        tries: How often a client sends a refused request at most.
        honour_retry_after: Whether clients wait as long as a refusal says.
    """
    plan = plan_for(
        server,
        files,
        mode=OPEN,
        rate=FACTOR * capacity_per_s,
        seconds=seconds,
        timeout_s=PATIENCE_S,
        tries=tries,
        honour_retry_after=honour_retry_after,
        probe_file=files.index(typical),
        probe_before_s=LONE_S,
        probe_after_s=AFTER_S,
        warm_up=16,
    )
    figures = account(run_load(plan, server.process.pid), seconds)
    figures["rss_mib"] = server.usage.rss_bytes / 2**20
    return figures


def middle(rounds: Sequence[Any]) -> Any:
    """Give the median of each figure over the rounds, of two the larger; None comes last."""
    if isinstance(rounds[0], Mapping):
        names = dict.fromkeys(name for one in rounds for name in one)
        return {name: middle([one.get(name) for one in rounds]) for name in names}
    return sorted(rounds, key=lambda one: math.inf if one is None else one)[len(rounds) // 2]
