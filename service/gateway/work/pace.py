"""Flow control: as many concurrent objects as the service takes.

Additive increase, multiplicative decrease (RFC 5681, 3.1). Refused objects are retried in place,
fewer at a time: order is kept, and a restarted service gets one request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from service.client.exchange import Retry
from service.gateway.signals import Signals
from service.gateway.work.analysis import (
    BUSY_STATUSES,
    UNAUTHORIZED_STATUSES,
    UNREACHABLE,
    Analyses,
)
from service.gateway.work.loop import Failure, TryAgain

LEAST = 1.0
DECREASE = 0.7
PAUSE = Retry(attempts=31, base_s=0.05, longest_s=1.0)


class Pace:
    """A concurrency limit that adapts to refusals. Any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._taken = 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> float:
        """Concurrent requests; the fraction is growth."""
        return self._limit

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for permission to send."""
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
        """Adapt to a refusal or success."""
        with self._changed:
            if is_refused:
                self._limit = max(LEAST, DECREASE * self._limit)
            else:
                self._limit = min(float(self._most), self._limit + 1.0 / self._limit)
            self._changed.notify_all()


class PacedAnalysis:
    """Paces requests, holding objects while the service is busy or away."""

    def __init__(
        self, analysis: Analyses, signals: Signals, *, most: int, patience_s: float
    ) -> None:
        self._analysis = analysis
        self._signals = signals
        self._patience_s = patience_s
        self._pace = Pace(most)

    def analyse(self, data: bytes) -> list[bytes] | Failure:
        """See :meth:`Analyses.analyse`."""
        end_s = time.monotonic() + self._patience_s
        attempt = 0
        while True:
            attempt += 1
            with self._pace.turn():
                answer = self._analysis.analyse(data)
            if not isinstance(answer, TryAgain) or not _is_of_service(answer):
                self._pace.learn(is_refused=False)
                return answer
            self._pace.learn(is_refused=True)
            pause_s = max(PAUSE.delay_s(min(attempt, 30), None), answer.asked_s)
            if time.monotonic() + pause_s > end_s or self._signals.wait_until_stopping(pause_s):
                return answer


def _is_of_service(failure: TryAgain) -> bool:
    # The service refuses every object: it is busy, away, or does not know the key.
    if failure.response is None:
        return failure.reason == UNREACHABLE
    return failure.response.status_code in BUSY_STATUSES | UNAUTHORIZED_STATUSES
