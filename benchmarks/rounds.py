"""From the rounds of a run to medians and ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, TypedDict

from benchmarks.contest import Figures, LimitFigures, Way

FULL = 32
"""Concurrency at which every server is measured."""

SERVICE = "service"


class ServerFigures(TypedDict):
    """One server at one concurrency: medians over the rounds."""

    per_s: float
    of_limit: float
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
        servers: By name, the service's and the peers' figures; a peer that failed has fewer.
    """

    limits: list[LimitFigures] = field(default_factory=list)
    lone: list[LimitFigures] = field(default_factory=list)
    servers: dict[str, list[Figures]] = field(default_factory=dict)

    def capacity(self, name: str) -> float | None:
        """Give what a server answers per second when it is full; None: it was not measured."""
        figures = self.servers.get(f"{name}, {FULL}")
        return median(one["per_s"] for one in figures) if figures else None

    def of_limit(self, name: str, key: Literal["per_s", "cpu_s_per_1000"]) -> float:
        """Give the median of a server's figure to the limit's of the same round."""
        pairs = zip(self.servers[name], self.limits, strict=False)
        return median(one[key] / limit[key] for one, limit in pairs)

    def best_peer(self, precision: str) -> list[Figures] | None:
        """Give the figures of the quickest peer that ran in every round."""
        ends = f", {precision}, {FULL}"
        whole = [
            figures
            for name, figures in self.servers.items()
            if name.endswith(ends) and len(figures) == len(self.limits)
        ]
        return max(whole, key=_median_rate, default=None)

    def ratios(self, concurrencies: Sequence[int]) -> dict[str, float]:
        """Give the service beside the limit and the peers: medians of the rounds' ratios."""
        full = self.servers[f"{SERVICE}, {FULL}"]
        lone = self.servers[f"{SERVICE}, 1"]
        ratios = {
            "cpu": self.of_limit(f"{SERVICE}, {FULL}", "cpu_s_per_1000"),
            "lone": median(
                (one["summary"]["p50_ms"] or 0.0) / alone["taken_p50_ms"]
                for one, alone in zip(lone, self.lone, strict=True)
            ),
        }
        for concurrency in concurrencies:
            ratios[f"rate_{concurrency}"] = self.of_limit(f"{SERVICE}, {concurrency}", "per_s")
        for precision in ("fp32", "int8"):
            if best := self.best_peer(precision):
                pairs = zip(full, best, strict=True)
                ratios[f"peer_{precision}"] = median(
                    ours["per_s"] / theirs["per_s"] for ours, theirs in pairs
                )
        return ratios

    def as_json(self, way: Way, concurrencies: Sequence[int]) -> dict[str, Any]:
        """Give everything as it is stored."""
        return {
            "ratios": self.ratios(concurrencies),
            "limit": {
                "way": str(way),
                "per_s": median(one["per_s"] for one in self.limits),
                "cpu_s_per_1000": median(one["cpu_s_per_1000"] for one in self.limits),
                "rss_mib": median(one["rss_mib"] for one in self.limits),
                "lone_ms": median(one["taken_p50_ms"] for one in self.lone),
            },
            "servers": {name: self._medians(name) for name in self.servers},
        }

    def _medians(self, name: str) -> ServerFigures:
        figures = self.servers[name]
        summaries = [one["summary"] for one in figures]
        return {
            "per_s": _median_rate(figures),
            "of_limit": self.of_limit(name, "per_s"),
            "p50_ms": median(one["p50_ms"] or 0.0 for one in summaries),
            "p95_ms": median(one["p95_ms"] or 0.0 for one in summaries),
            "p99_ms": median(one["p99_ms"] or 0.0 for one in summaries),
            "cpu_s_per_1000": median(one["cpu_s_per_1000"] for one in figures),
            "rss_mib": median(one["rss_mib"] for one in figures),
            "pss_mib": median(one["pss_mib"] for one in figures),
            "generator_cores": median(one["generator_cores"] for one in figures),
            "unanswered": sum(one["requests"] - one["answered"] for one in summaries),
        }


def _median_rate(figures: Sequence[Figures]) -> float:
    return median(one["per_s"] for one in figures)
