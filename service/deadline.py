"""The moment after which nobody waits for an answer any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

Clock: TypeAlias = Callable[[], float]
"""Gives seconds that never go backwards. Tests put their own in its place."""


@dataclass(frozen=True)
class Deadline:
    """One request's deadline, in seconds of its clock."""

    at_s: float
    clock: Clock = time.monotonic

    @classmethod
    def after_ms(cls, duration_ms: float, clock: Clock = time.monotonic) -> Deadline:
        """Return the deadline that is this far ahead."""
        return cls(clock() + duration_ms / 1000.0, clock)

    @property
    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at_s - self.clock())

    @property
    def is_over(self) -> bool:
        """Whether it has passed."""
        return self.clock() >= self.at_s
