"""The workers' loop."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import httpx

from service.client.exchange import Retry, retry_after_s
from service.gateway.errors import LeaseLostError
from service.gateway.signals import Bell, Signals
from service.gateway.store.housekeeping import S_PER_H
from service.telemetry.logs import log_event

POLL_S = 0.5  # for postponed work, and for the work of other gateways
AFTER_FAILURE_S = 2.0  # while the database is unavailable
MOST_DOUBLINGS = 30
MAX_REASON_CHARACTERS = 64  # of the database column
BYTES_MISSING = "bytes-missing"


@dataclass(frozen=True)
class TryAgain:
    """A transient failure."""

    reason: str  # a constant, or the slug of a problem type
    response: httpx.Response | None = None

    @property
    def asked_s(self) -> float:
        """Retry-After, else 0; dates (RFC 9110, 10.2.3) are ignored."""
        return (retry_after_s(self.response) or 0.0) if self.response is not None else 0.0


@dataclass(frozen=True)
class GiveUp:
    """A permanent failure."""

    reason: str
    is_of_object: bool = False  # the object was refused, not the way it was sent


Failure: TypeAlias = TryAgain | GiveUp


class LeasedWork(Protocol):
    """Leased work."""

    @property
    def attempts(self) -> int:
        """Earlier attempts."""

    @property
    def begun_s(self) -> float:
        """First attempt, in seconds since 1970."""


Work = TypeVar("Work", bound=LeasedWork)


class WorkerTask(Protocol[Work]):
    """A kind of work. Any thread. Lost leases raise :class:`LeaseLostError`."""

    name: str
    """Begins the names of log events."""

    def lease(self, full: Collection[str]) -> Work | None:
        """Lease the next due work, excluding these receivers."""

    def receiver(self, work: Work) -> str:
        """Return who must take the work; each has its own slots."""

    def describe(self, work: Work) -> dict[str, Any]:
        """Return log fields."""

    def do(self, work: Work) -> Failure | None:
        """Do and settle the work, or return the failure."""

    def postpone(self, work: Work, reason: str, delay_s: float) -> None:
        """Retry after the delay."""

    def dead_letter(self, work: Work, reason: str) -> None:
        """Give it up."""

    def count(self, work: Work, outcome: str) -> None:
        """Count a failed attempt: ``retried`` or ``dead``."""


class Worker(Generic[Work]):
    """Does one kind of work, each piece on its own thread.

    A hanging receiver takes only its own slots. What fails for ``longest_h`` is given up.
    """

    def __init__(
        self,
        task: WorkerTask[Work],
        slots: int,
        signals: Signals,
        bell: Bell,
        *,
        retry: Retry,
        longest_h: float,
    ) -> None:
        self._task = task
        self._slots = slots
        self._signals = signals
        self._bell = bell
        self._retry = retry
        self._longest_s = longest_h * S_PER_H
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._threads: set[threading.Thread] = set()

    def start(self) -> None:
        """Run on a thread."""
        thread = threading.Thread(target=self.run, name=self._task.name, daemon=True)
        self._threads.add(thread)
        thread.start()

    def run(self) -> None:
        """Begin work until stopped."""
        while not self._signals.is_stopping:
            try:
                if not self.begin_one():
                    self._bell.wait(POLL_S)
            except Exception as error:  # the database is unavailable; the lease runs out
                self._pause_after(error)

    def join(self, until_s: float) -> None:
        """Wait for all threads until this monotonic time."""
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    def begin_one(self) -> bool:
        """Begin the next work; return False if none is due for a free slot."""
        with self._lock:
            full = [one for one, taken in self._taken.items() if taken >= self._slots]
        work = self._task.lease(full)
        if work is None:
            return False
        receiver = self._task.receiver(work)
        thread = threading.Thread(
            target=self._run_one,
            args=(receiver, work),
            name=f"{self._task.name}-{receiver}",
            daemon=True,
        )
        with self._lock:
            self._taken[receiver] += 1
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # too many threads; the lease runs out
            self._free(receiver, thread)
            raise
        return True

    def do(self, work: Work) -> None:
        """Do and settle leased work, whatever it raises."""
        task = self._task
        try:
            try:
                failure = task.do(work)
                if failure is not None:
                    self._settle(work, failure)
            except LeaseLostError:
                raise
            except Exception as error:  # whatever was answered, or the disk: an attempt failed
                log_event(logging.ERROR, f"{task.name} failed", error, **task.describe(work))
                reason = f"gateway-{type(error).__name__}"  # the message may hold patient data
                self._settle(work, TryAgain(reason[:MAX_REASON_CHARACTERS]))
        except LeaseLostError:
            log_event(logging.WARNING, "lease lost", **task.describe(work))

    def _settle(self, work: Work, failure: Failure) -> None:
        task, reason = self._task, failure.reason
        again = failure if isinstance(failure, TryAgain) else None
        if again is not None and self._signals.is_stopping:
            task.postpone(work, reason, 0.0)
        elif again is None or time.time() - work.begun_s > self._longest_s:
            task.dead_letter(work, reason)
            task.count(work, "dead")
            log_event(
                logging.WARNING, f"{task.name} given up", **task.describe(work), reason=reason
            )
        else:
            attempt = work.attempts + 1
            wait_s = delay_s(self._retry, attempt, again)
            task.postpone(work, reason, wait_s)
            task.count(work, "retried")
            log_event(
                logging.INFO,
                f"{task.name} postponed",
                **task.describe(work),
                reason=reason,
                attempt=attempt,
                wait_s=round(wait_s, 2),
            )

    def _run_one(self, receiver: str, work: Work) -> None:
        try:
            self.do(work)
        except Exception as error:  # the database is unavailable; the lease runs out
            self._pause_after(error)
        finally:
            self._free(receiver, threading.current_thread())

    def _pause_after(self, error: Exception) -> None:
        log_event(logging.ERROR, "worker failed", error)
        self._signals.wait_until_stopping(AFTER_FAILURE_S)

    def _free(self, receiver: str, thread: threading.Thread) -> None:
        with self._lock:
            self._taken -= Counter([receiver])
            self._threads.discard(thread)
        self._bell.ring()


def endless_retry(base_s: float, longest_s: float) -> Retry:
    """Return a retry limited only by the work's age."""
    return Retry(attempts=MOST_DOUBLINGS + 1, base_s=base_s, longest_s=longest_s)


def delay_s(retry: Retry, attempt: int, again: TryAgain) -> float:
    """Return the wait: exponential with jitter, at least Retry-After."""
    own_s = retry.delay_s(min(attempt, MOST_DOUBLINGS), None)
    return min(max(own_s, again.asked_s), retry.longest_s)
