"""How threads tell each other that there is work, or that all is over."""

from __future__ import annotations

import threading


class Bell:
    """Wakes those who wait. Any thread.

    A ring is not lost on a worker that is busy: it looks once more before it waits.
    """

    def __init__(self) -> None:
        self._rung = threading.Condition()
        self._rings = 0
        self._heard = threading.local()

    def ring(self) -> None:
        """Wake all who wait."""
        with self._rung:
            self._rings += 1
            self._rung.notify_all()

    def wait(self, longest_s: float) -> None:
        """Wait for a ring this thread has not heard yet, or until it is time to look."""
        with self._rung:
            heard = getattr(self._heard, "rings", 0)
            self._rung.wait_for(lambda: self._rings != heard, longest_s)
            self._heard.rings = self._rings


class Signals:
    """Wakes workers. Any thread.

    Work of other gateways, and work that waits for its time, is found by looking now and then.
    """

    def __init__(self) -> None:
        self.analysis = Bell()
        self.delivery = Bell()
        self.report = Bell()
        self._stopping = threading.Event()

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more shall be begun."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping.set()
        for bell in (self.analysis, self.delivery, self.report):
            bell.ring()

    def wait_until_stopping(self, longest_s: float) -> bool:
        """Wait; give whether all is over."""
        return self._stopping.wait(longest_s)
