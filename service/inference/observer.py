"""Who is told what happens on the way of an image, and need not be there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class BatchObserver(Protocol):
    """Is told of the runs of one queue, on the event loop. Must be quick and not raise."""

    def batch_ran(self, waits_s: Sequence[float], run_s: float) -> None:
        """A run has ended.

        Args:
            waits_s: Wait of each of its items from being accepted to the start of the run.
            run_s: Its duration.
        """


class Observer(Protocol):
    """Is told what happens, on the event loop. Must be quick and not raise."""

    def image_decoded(self, spent_s: float) -> None:
        """A thread has prepared an image, which took it so long."""

    def batches_of(self, model: str, work: str) -> BatchObserver:
        """Give who is told of a queue's runs; ``work`` is ``predict`` or ``explain``."""
