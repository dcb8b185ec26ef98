"""As many objects at a time as the service takes.

Additive increase, multiplicative decrease (RFC 5681, 3.1, for another queue): what is refused for
load is tried again in place, with fewer at a time, instead of being put off for longer and longer.
So a busy service is kept busy, in the order objects came, and one that restarts is asked by one
worker, not for the whole backlog.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from service.client.exchange import Retry
from service.gateway.signals import Signals
from service.gateway.work.analysis import GiveUp, TryAgain

LEAST = 1.0
DECREASE = 0.7
PAUSE = Retry(attempts=31, base_s=0.05, longest_s=1.0)


class Analyses(Protocol):
    """Analyses one object."""

    def analyse(self, data: bytes) -> list[bytes] | TryAgain | GiveUp:
        """Send one Part 10 file and give the objects made of it."""


class Pace:
    """Turns, as many at a time as have proved right. Any thread.

    Args:
        most: Never more than so many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._taken = 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> float:
        """How many may go on at a time; a fraction is growth that is not yet one more."""
        return self._limit

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn, and take it."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken < int(self._limit))
            self._taken += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken -= 1
                self._changed.notify_all()

    def learn(self, *, is_refused: bool) -> None:
        """Go slower after a refusal, and a little faster after a success."""
        with self._changed:
            if is_refused:
                self._limit = max(LEAST, DECREASE * self._limit)
            else:
                self._limit = min(float(self._most), self._limit + 1.0 / self._limit)
            self._changed.notify_all()


class PacedAnalysis:
    """Asks the service at the pace it takes. Any thread.

    Args:
        analysis: Asks once.
        signals: Say when to stop.
        most: Objects at a time.
        patience_s: How long an object is held while the service is busy or away.
    """

    def __init__(
        self, analysis: Analyses, signals: Signals, *, most: int, patience_s: float
    ) -> None:
        self._analysis = analysis
        self._signals = signals
        self._patience_s = patience_s
        self.pace = Pace(most)

    def analyse(self, data: bytes) -> list[bytes] | TryAgain | GiveUp:
        """Send one Part 10 file and give the objects made of it."""
        end_s = time.monotonic() + self._patience_s
        attempt = 0
        while True:
            with self.pace.turn():
                answer = self._analysis.analyse(data)
            is_refused = isinstance(answer, TryAgain) and answer.is_of_service
            self.pace.learn(is_refused=is_refused)
            if not is_refused:
                return answer
            assert isinstance(answer, TryAgain)
            attempt += 1
            pause_s = max(PAUSE.delay_s(min(attempt, 30), None) or 0.0, answer.asked_s)
            if time.monotonic() + pause_s > end_s:
                return answer
            if self._signals.wait_until_stopping(pause_s):
                return answer
