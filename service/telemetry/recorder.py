"""What schedulers and shadows report as it happens; everything else is read off timelines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

PREDICT, EXPLAIN = "predict", "explain"
"""What a queue's runs are for."""


class Recorder(Protocol):
    """Records events. Called on the event loop; must be quick and not raise."""

    def batch_ran(self, model: str, work: str, waits_s: Sequence[float], run_s: float) -> None:
        """Record a run.

        Args:
            model: Name of the model.
            work: ``predict`` or ``explain``.
            waits_s: Wait of each item, for a core and for the run.
            run_s: Duration of the run.
        """

    def worker_ended(self, work: str) -> None:
        """Record that a worker process ended, and for what it was."""

    def shadow_compared(
        self, model: str, versions: tuple[str, str], decisions: tuple[str, str], difference: float
    ) -> None:
        """Record that a shadow answered, too.

        Args:
            model: Name of the model.
            versions: The active one and the shadow.
            decisions: Of both.
            difference: Of their probabilities, absolute.
        """

    def shadow_dropped(self, model: str, shadow: str, reason: str) -> None:
        """Record that a shadow did not answer."""


class _NullRecorder:
    def batch_ran(self, model: str, work: str, waits_s: Sequence[float], run_s: float) -> None:
        pass

    def worker_ended(self, work: str) -> None:
        pass

    def shadow_compared(
        self, model: str, versions: tuple[str, str], decisions: tuple[str, str], difference: float
    ) -> None:
        pass

    def shadow_dropped(self, model: str, shadow: str, reason: str) -> None:
        pass


NULL_RECORDER = _NullRecorder()
