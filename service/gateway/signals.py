"""Signals between threads: work, or stop."""

from __future__ import annotations

import threading


class Bell:
    """Wakes one thread; a ring while it is busy ends its next wait at once."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def ring(self) -> None:
        """Wake the thread. Any thread."""
        self._rung.set()

    def wait(self, longest_s: float) -> None:
        """Wait for a ring or the timeout. One thread."""
        self._rung.wait(longest_s)
        self._rung.clear()


class Signals:
    """The workers' bells, and the order to stop. Any thread."""

    def __init__(self) -> None:
        self.analysis = Bell()
        self.delivery = Bell()
        self.report = Bell()
        self._stopping = threading.Event()

    @property
    def is_stopping(self) -> bool:
        """Whether to begin nothing new."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopping.set()
        for bell in (self.analysis, self.delivery, self.report):
            bell.ring()

    def wait_until_stopping(self, longest_s: float) -> bool:
        """Wait; return whether to stop."""
        return self._stopping.wait(longest_s)
