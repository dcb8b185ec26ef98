"""A row of the table: an attack, what was seen of it, and what it is held against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.siege.arena import Arena

MIB = 1 << 20
LIVE_MS = 100.0
REFUSALS = ("400", "413", "415", "422", "431")
"""What a hostile input may be answered with: it is the sender's fault, and said so."""


@dataclass(frozen=True)
class Bars:
    """What a row is held against. None: reported, held against nothing.

    Attributes:
        cpu_s: CPU seconds of the server, an input.
        memory_mib: Growth of its peak memory in MiB.
        live_ms: Worst answer of ``/health/live`` in milliseconds.
        slow_s: From when on an honest client's answer counts as slow.
        lost: How many of its requests may fail or be slow.
        statuses: What the attack may be answered with, by status; empty: anything.
    """

    cpu_s: float | None = None
    memory_mib: float | None = 64.0
    live_ms: float = LIVE_MS
    slow_s: float = 1.0
    lost: int = 0
    statuses: tuple[str, ...] = ()


@dataclass
class Sighting:
    """What was seen of an attack.

    Attributes:
        sent_bytes: Of one input.
        answers: What came back for each: status and type of problem, or how it ended.
        cpu_s: CPU seconds of the server an input.
        is_alone: Whether they were measured with nobody else there; else what probes and honest
            clients cost in peace is subtracted, which is rough.
        memory_bytes: Growth of its peak memory.
        live_ms: Worst answer of ``/health/live`` in milliseconds; None if it was not asked.
        late_ms: How late the prober itself woke at worst: what the machine, not the server, adds.
        asked: Honest requests.
        failed: Honest requests that were refused or not answered.
        slow: Honest requests answered too late.
        facts: What else must be true, by name.
        notes: Further figures, in words.
    """

    sent_bytes: int = 0
    answers: list[str] = field(default_factory=list)
    cpu_s: float | None = None
    is_alone: bool = False
    memory_bytes: int | None = None
    live_ms: float | None = None
    late_ms: float = 0.0
    asked: int = 0
    failed: int = 0
    slow: int = 0
    facts: dict[str, bool] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Give it as JSON holds it."""
        return asdict(self)


@dataclass(frozen=True)
class Row:
    """An attack.

    Attributes:
        key: Its name on the command line.
        family: What it is aimed at.
        title: What is done, for people.
        attack: Does it, in a few seconds to a minute, and tells what was seen.
        bars: What it is held against.
    """

    key: str
    family: str
    title: str
    attack: Callable[[Arena], Sighting]
    bars: Bars = Bars()


def misses(bars: Bars, seen: Sighting) -> list[str]:
    """Say what was missed; empty if every bar is met."""
    found = []
    if bars.cpu_s is not None and seen.cpu_s is not None and seen.cpu_s > bars.cpu_s:
        found.append(f"CPU {seen.cpu_s:.2f} s, bar {bars.cpu_s:g} s")
    if bars.memory_mib is not None and seen.memory_bytes is not None:
        grown_mib = seen.memory_bytes / MIB
        if grown_mib > bars.memory_mib:
            found.append(f"memory +{grown_mib:.0f} MiB, bar {bars.memory_mib:.0f} MiB")
    if seen.live_ms is not None and seen.live_ms > bars.live_ms:
        found.append(f"/health/live {seen.live_ms:.0f} ms, bar {bars.live_ms:.0f} ms")
    if seen.failed + seen.slow > bars.lost:
        found.append(f"honest: {seen.failed} failed, {seen.slow} slow of {seen.asked}")
    wrong = sorted({one for one in seen.answers if not one.startswith(bars.statuses)})
    if bars.statuses and (wrong or not seen.answers):
        found.append(f"answered {', '.join(wrong) or 'nothing'}")
    return found + [f"not {name}" for name, is_true in seen.facts.items() if not is_true]
