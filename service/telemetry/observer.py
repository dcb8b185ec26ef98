"""Who is told what happens on the way of an image, and need not be there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

PREDICT, EXPLAIN = "predict", "explain"
"""What a queue's runs are for."""


class BatchObserver(Protocol):
    """Is told of the runs of one queue, on the event loop. Must be quick and not raise."""

    def batch_ran(self, waits_s: Sequence[float], run_s: float) -> None:
        """A run has ended.

        Args:
            waits_s: Wait of each of its items, for a core and for the run.
            run_s: Its duration.
        """


class Observer(Protocol):
    """Is told what happens, on the event loop. Must be quick and not raise."""

    def image_decoded(self, spent_s: float) -> None:
        """A thread has prepared an image, which took it so long."""

    def batches_of(self, model: str, work: str) -> BatchObserver:
        """Give who is told of a queue's runs; ``work`` is ``predict`` or ``explain``."""

    def shadow_compared(
        self, model: str, versions: tuple[str, str], decisions: tuple[str, str], difference: float
    ) -> None:
        """A shadow has answered, too.

        Args:
            model: Whose version it is.
            versions: The one in force and the shadow.
            decisions: Of both.
            difference: Of their probabilities, absolute.
        """

    def shadow_dropped(self, model: str, shadow: str, reason: str) -> None:
        """A shadow has not answered."""


class _Nobody:
    """Is told of everything and does nothing."""

    def image_decoded(self, spent_s: float) -> None:
        pass

    def batch_ran(self, waits_s: Sequence[float], run_s: float) -> None:
        pass

    def batches_of(self, model: str, work: str) -> BatchObserver:
        return self

    def shadow_compared(
        self, model: str, versions: tuple[str, str], decisions: tuple[str, str], difference: float
    ) -> None:
        pass

    def shadow_dropped(self, model: str, shadow: str, reason: str) -> None:
        pass


UNOBSERVED = _Nobody()
