"""From what a load generator saw to figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

OK = 200
REFUSALS = frozenset({429, 503})
DROPPED = -1
"""Status of a request whose connection ended without an answer."""
TIMED_OUT = 0
"""Status of a request whose client did not wait any longer."""

RECOVERED_FACTOR = 1.5
PROBES_TO_AGREE = 3  # one quick answer may be luck: two of three are asked for


class Record(NamedTuple):
    """One request.

    Attributes:
        begun_s: When it was due, from the start of its phase.
        latency_s: From then to its last answer.
        status: HTTP status, ``DROPPED`` or ``TIMED_OUT``.
        file: Index of the file that was sent.
        tries: How often it was sent.
        pause_s: How long a refusal asks its client to wait.
    """

    begun_s: float
    latency_s: float
    status: int
    file: int
    tries: int = 1
    pause_s: float = 0.0


class Summary(TypedDict):
    """Figures of one phase; times in milliseconds, None where nothing was to be timed."""

    requests: int
    answered: int
    refused: int
    dropped: int
    timed_out: int
    failed: int
    statuses: dict[str, int]
    per_s: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    refused_p99_ms: float | None


def percentile(values: Sequence[float], share: float) -> float | None:
    """Give the smallest value that at least ``share`` of all values do not exceed (nearest rank).

    Args:
        values: In any order.
        share: In (0, 1].

    Returns:
        None if there are no values.
    """
    if not values:
        return None
    rank = -int(-share * len(values) // 1)  # rounded up
    return sorted(values)[max(0, rank - 1)]


def summarise(records: Sequence[Record], window_s: float) -> Summary:
    """Give the figures of a phase.

    Args:
        records: All its requests; those begun before 0 belong to the ramp.
        window_s: How long it lasted. The rate counts answers that came in this time, whenever
            they were asked for; latencies are of requests begun in it; counts are of all.
    """
    good = [record for record in records if record.status == OK]
    refused = [record for record in records if record.status in REFUSALS]
    statuses = Counter(record.status for record in records)
    in_window = sum(0 <= record.begun_s + record.latency_s <= window_s for record in good)
    taken = [record.latency_s for record in good if record.begun_s >= 0]
    known = len(good) + len(refused) + statuses[DROPPED] + statuses[TIMED_OUT]
    return {
        "requests": len(records),
        "answered": len(good),
        "refused": len(refused),
        "dropped": statuses[DROPPED],
        "timed_out": statuses[TIMED_OUT],
        "failed": len(records) - known,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "per_s": in_window / window_s,
        "p50_ms": _ms(percentile(taken, 0.5)),
        "p95_ms": _ms(percentile(taken, 0.95)),
        "p99_ms": _ms(percentile(taken, 0.99)),
        "refused_p99_ms": _ms(percentile([record.latency_s for record in refused], 0.99)),
    }


def share_within(records: Sequence[Record], limit_s: float, *, good_only: bool = True) -> float:
    """Give the share of requests that were answered in time.

    Args:
        records: All requests of a phase.
        limit_s: What in time means.
        good_only: Count answers only; else refusals too: the client knows where it stands.
    """
    wanted = {OK} if good_only else {OK, *REFUSALS}
    in_time = sum(r.status in wanted and r.latency_s <= limit_s for r in records)
    return in_time / len(records) if records else 0.0


def recovery_s(probes: Sequence[Record], lone_s: float) -> float | None:
    """Give the time from the end of an overload until lone requests are quick again.

    Args:
        probes: Lone requests, one after another, from the moment the overload ended.
        lone_s: Their usual latency.

    Returns:
        When the first quick probe was answered that most of the next ones agree with; None if
        that never came.
    """
    quick = [p.status == OK and p.latency_s <= RECOVERED_FACTOR * lone_s for p in probes]
    for number, probe in enumerate(probes):
        window = quick[number : number + PROBES_TO_AGREE]
        if quick[number] and len(window) == PROBES_TO_AGREE and sum(window) * 2 > len(window):
            return probe.begun_s + probe.latency_s
    return None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
