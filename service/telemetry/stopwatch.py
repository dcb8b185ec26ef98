"""How long the stages of a request took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from service.deadline import Clock
from service.telemetry.tracing import span

RECV, DECODE, QUEUE, INFER, EXPLAIN = "recv", "decode", "queue", "infer", "explain"
STAGES = (RECV, DECODE, QUEUE, INFER)
"""Stages every request has; one that has more records them."""

MS_PER_S = 1000.0


class Stopwatch:
    """Stage timings of one request, in milliseconds.

    Args:
        clock: Gives seconds.
        stages: Those that are told even if they were not reached.

    Attributes:
        stages_ms: Those there were.
    """

    def __init__(self, clock: Clock = time.perf_counter, stages: Sequence[str] = STAGES) -> None:
        self._clock = clock
        self._stages = stages
        self._started_s = clock()
        self.stages_ms: dict[str, float] = {}

    @property
    def total_ms(self) -> float:
        """Since the request began."""
        return (self._clock() - self._started_s) * MS_PER_S

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure and trace what is done inside."""
        started_s = self._clock()
        try:
            with span(name):
                yield
        finally:
            self.record(name, (self._clock() - started_s) * MS_PER_S)

    def record(self, name: str, duration_ms: float) -> None:
        """Add a measured stage."""
        self.stages_ms[name] = self.stages_ms.get(name, 0.0) + duration_ms

    def record_longest(self, name: str, duration_ms: float) -> None:
        """Keep the longest of what was done side by side."""
        self.stages_ms[name] = max(self.stages_ms.get(name, 0.0), duration_ms)

    def told_ms(self) -> dict[str, float]:
        """Give every stage, 0 where it was not reached, and the total; rounded for people."""
        every = dict.fromkeys(self._stages, 0.0) | self.stages_ms
        stages = {name: round(duration_ms, 3) for name, duration_ms in every.items()}
        return {**stages, "total": round(self.total_ms, 3)}

    def as_ms(self) -> dict[str, float]:
        """Give the same as JSON answers name it, where receiving is left out."""
        told = self.told_ms()
        told.pop(RECV, None)
        return {("inference" if name == INFER else name): ms for name, ms in told.items()}

    def server_timing(self) -> str:
        """Give the value of a Server-Timing header (W3C Server Timing, section 3)."""
        return ", ".join(f"{name};dur={value}" for name, value in self.told_ms().items())
