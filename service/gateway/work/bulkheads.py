"""Work on others who may hang: so many pieces at a time for each of them, and no more."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

from service.gateway.signals import Bell, Signals
from service.gateway.work.workers import AFTER_FAILURE_S, work_until_stopped
from service.telemetry.logs import log_event

Work = TypeVar("Work")


class Bulkheads(Generic[Work]):
    """Takes work and does it in threads, some for each of those it is for.

    Who hangs takes the slots of their own and nobody else's.

    Args:
        name: Of the threads.
        slots: Pieces of work at a time for each.
        lease: Takes the next piece, but none for those it is given; None if none is due.
        whose: Says whom a piece of work is for.
        work: Does one.
        signals: Say when to stop.
        bell: Rings when there may be work.
    """

    def __init__(
        self,
        name: str,
        slots: int,
        *,
        lease: Callable[[Collection[str]], Work | None],
        whose: Callable[[Work], str],
        work: Callable[[Work], None],
        signals: Signals,
        bell: Bell,
    ) -> None:
        self._name = name
        self._slots = slots
        self._lease = lease
        self._whose = whose
        self._work = work
        self._signals = signals
        self._bell = bell
        self._lock = threading.Lock()
        self._taken: Counter[str] = Counter()
        self._threads: set[threading.Thread] = set()

    def run(self) -> None:
        """Take work and begin it until told to stop. One thread."""
        work_until_stopped(self._signals, self._bell.wait, self.begin_one)

    def begin_one(self) -> bool:
        """Begin the next piece of work; False if none is due that has a slot."""
        work = self._lease(self._full())
        if work is None:
            return False
        whose = self._whose(work)
        thread = threading.Thread(
            target=self._do, args=(whose, work), name=f"{self._name}-{whose}", daemon=True
        )
        with self._lock:
            self._taken[whose] += 1
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # there are too many threads; the lease runs out
            self._free(whose, thread)
            raise
        return True

    @property
    def threads(self) -> list[threading.Thread]:
        """What has been begun."""
        with self._lock:
            return list(self._threads)

    def _full(self) -> list[str]:
        with self._lock:
            return [whose for whose, taken in self._taken.items() if taken >= self._slots]

    def _do(self, whose: str, work: Work) -> None:
        try:
            self._work(work)
        except Exception as error:  # the database or the disk is away; the lease runs out
            log_event(logging.ERROR, "worker failed", error)
            self._signals.wait_until_stopping(AFTER_FAILURE_S)
        finally:
            self._free(whose, threading.current_thread())

    def _free(self, whose: str, thread: threading.Thread) -> None:
        with self._lock:
            self._taken -= Counter([whose])
            self._threads.discard(thread)
        self._bell.ring()
