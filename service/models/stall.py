"""Whether work still comes back: what a probe can know of an engine that hangs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from service.errors import NotReadyError
from service.lifecycle import RETRY_DRAINING_S
from service.models.models import ServedModel

HUNG = "Nothing has come back from the cores or an engine for long. Restart the process."


class StallWatch:
    """Watches how long the jobs that hold everything up have been running.

    A thread cannot be stopped: one that never comes back from a library, or from a device that
    hangs, is lost, and with the last one the service. Its requests are told at their deadline, but
    none after them can be answered. What runs is looked at, not what waits: nobody waits any more
    after the deadline, nor once the load balancer has been told.

    Args:
        models: Gives the served models.
        unready_s: After that long predictions are no longer accepted.
        restart_s: After that long the process is to be replaced.
    """

    def __init__(
        self, models: Callable[[], Iterable[ServedModel]], unready_s: float, restart_s: float
    ) -> None:
        self._models = models
        self._unready_s = unready_s
        self._restart_s = restart_s

    def is_stalled(self) -> bool:
        """Whether some model has answered no prediction for too long though it was at work."""
        return any(model.lane.stalled_s > self._unready_s for model in self._models())

    def verify_live(self) -> None:
        """Refuse when only another process can help; a stuck explainer counts here, too.

        Raises:
            NotReadyError: It is so.
        """
        for model in self._models():
            explaining_s = model.explaining.batcher.running_s if model.explaining else 0.0
            if max(model.lane.stalled_s, explaining_s) > self._restart_s:
                raise NotReadyError(HUNG, RETRY_DRAINING_S)
