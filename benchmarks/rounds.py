"""From the rounds of a run to medians and ratios."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypedDict, TypeVar

from benchmarks.contest import Figures, LimitFigures, Way
from benchmarks.overload import OverloadFigures, middle

T = TypeVar("T")
U = TypeVar("U")

BUSY, FULL = 8, 32
"""Concurrencies at which every server is measured."""

CONCURRENCIES = (1, BUSY, FULL)
"""Of the service."""

SERVICE, MOSEC = "service", "mosec, int8"


class ServerFigures(TypedDict):
    """One server at one concurrency: medians over the rounds."""

    per_s: float
    of_limit: float | None
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_s_per_1000: float
    rss_mib: float
    pss_mib: float
    generator_cores: float
    unanswered: int


@dataclass
class Rounds:
    """What was measured, round by round.

    Attributes:
        limits: The limit.
        lone: Decode and inference alone, one image after another.
        servers: By name and concurrency, the service's and the peers' figures; a peer that
            failed has fewer.
        limits_beside: The limit again, before each round of overloads.
        overloads: By name, what became of too many requests.
    """

    limits: list[LimitFigures] = field(default_factory=list)
    lone: list[LimitFigures] = field(default_factory=list)
    servers: dict[str, list[Figures]] = field(default_factory=dict)
    limits_beside: list[LimitFigures] = field(default_factory=list)
    overloads: dict[str, list[OverloadFigures]] = field(default_factory=dict)

    def at(self, name: str, concurrency: int = FULL) -> list[Figures]:
        """Give the figures of a server at a concurrency."""
        return self.servers.get(f"{name}, {concurrency}", [])

    def capacity(self, name: str) -> float | None:
        """Give what a server answers per second when it is full; None: it was not measured."""
        figures = self.at(name)
        return _median_rate(figures) if figures else None

    def best_peer(self, precision: str) -> list[Figures]:
        """Give the figures of the quickest peer that ran in every round."""
        ends = f", {precision}, {FULL}"
        whole = [
            figures
            for name, figures in self.servers.items()
            if name.endswith(ends) and len(figures) == len(self.limits)
        ]
        return max(whole, key=_median_rate, default=[])

    def ratios(self) -> dict[str, float | None]:
        """Give the service beside the limit and the quickest peers."""
        full = self.at(SERVICE)
        ratios = {
            "cpu": ratio(
                (one["cpu_s_per_1000"], limit["cpu_s_per_1000"])
                for one, limit in rounds_of(full, self.limits)
            ),
            "lone": ratio(
                (one["summary"]["p50_ms"], alone["taken_p50_ms"])
                for one, alone in rounds_of(self.at(SERVICE, 1), self.lone)
            ),
            "overload_good": ratio(
                (one["good_per_s"], limit["per_s"])
                for one, limit in rounds_of(self.overloads.get(SERVICE, []), self.limits_beside)
            ),
        }
        for concurrency in CONCURRENCIES:
            ratios[f"rate_{concurrency}"] = self._of_limit(self.at(SERVICE, concurrency))
        for precision in ("fp32", "int8"):
            ratios[f"peer_{precision}"] = _rate_ratio(full, self.best_peer(precision))
        return ratios

    def beside_mosec(self) -> dict[str, float | None]:
        """Give the service beside the one peer it is held against."""
        full = rounds_of(self.at(SERVICE), self.at(MOSEC))
        overloads = rounds_of(self.overloads.get(SERVICE, []), self.overloads.get(MOSEC, []))
        return {
            "rate_8": _rate_ratio(self.at(SERVICE, BUSY), self.at(MOSEC, BUSY)),
            "rate_32": _rate_ratio(self.at(SERVICE), self.at(MOSEC)),
            "cpu": ratio((one["cpu_s_per_1000"], other["cpu_s_per_1000"]) for one, other in full),
            "p99_32": ratio(
                (one["summary"]["p99_ms"], other["summary"]["p99_ms"]) for one, other in full
            ),
            "overload_good": ratio(
                (one["good_per_s"], other["good_per_s"]) for one, other in overloads
            ),
            "overload_p99": ratio(
                (one["summary"]["p99_ms"], other["summary"]["p99_ms"]) for one, other in overloads
            ),
            "overload_recovery": ratio(
                (one["recovery_s"], other["recovery_s"]) for one, other in overloads
            ),
        }

    def as_json(self, way: Way) -> dict[str, Any]:
        """Give everything as it is stored."""
        overloads = {name: middle(figures) for name, figures in self.overloads.items()}
        return {
            "ratios": self.ratios(),
            "mosec": self.beside_mosec(),
            "limit": {
                "way": str(way),
                "per_s": median(one["per_s"] for one in self.limits),
                "cpu_s_per_1000": median(one["cpu_s_per_1000"] for one in self.limits),
                "rss_mib": median(one["rss_mib"] for one in self.limits),
                "lone_ms": median(one["taken_p50_ms"] for one in self.lone),
            },
            "servers": {name: self._medians(figures) for name, figures in self.servers.items()},
            "overloads": overloads,
            "overload": overloads.get(SERVICE),
        }

    def _of_limit(self, figures: Sequence[Figures]) -> float | None:
        return ratio(
            (one["per_s"], limit["per_s"]) for one, limit in rounds_of(figures, self.limits)
        )

    def _medians(self, figures: Sequence[Figures]) -> ServerFigures:
        summaries = [one["summary"] for one in figures]
        return {
            "per_s": _median_rate(figures),
            "of_limit": self._of_limit(figures),
            "p50_ms": median(one["p50_ms"] or 0.0 for one in summaries),
            "p95_ms": median(one["p95_ms"] or 0.0 for one in summaries),
            "p99_ms": median(one["p99_ms"] or 0.0 for one in summaries),
            "cpu_s_per_1000": median(one["cpu_s_per_1000"] for one in figures),
            "rss_mib": median(one["rss_mib"] for one in figures),
            "pss_mib": median(one["pss_mib"] for one in figures),
            "generator_cores": median(one["generator_cores"] for one in figures),
            "unanswered": sum(one["requests"] - one["answered"] for one in summaries),
        }


def rounds_of(ours: Sequence[T], theirs: Sequence[U]) -> list[tuple[T, U]]:
    """Pair what was measured in the same round; empty if either failed in one."""
    return list(zip(ours, theirs, strict=True)) if len(ours) == len(theirs) else []


def ratio(pairs: Iterable[tuple[float | None, float | None]]) -> float | None:
    """Give the median of the rounds' ratios; None if there is nothing to compare."""
    found = [one / other for one, other in pairs if one is not None and other]
    return median(found) if found else None


def _rate_ratio(ours: Sequence[Figures], theirs: Sequence[Figures]) -> float | None:
    return ratio((one["per_s"], other["per_s"]) for one, other in rounds_of(ours, theirs))


def _median_rate(figures: Sequence[Figures]) -> float:
    return median(one["per_s"] for one in figures)
