"""Whether a request may come in: by when it would be answered, not by how many wait."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from service.deadline import Deadline
from service.errors import QueueFullError
from service.scheduling.in_flight import Load

MAX_RETRY_AFTER_S = 60
RETRY_JITTER_S = 1
"""Clients that were refused together should not come back together."""

TOO_BUSY = (
    "The service has more to do than it can answer in time, and nothing of the request was read. "
    "Try again later."
)
NOT_IN_TIME = (
    "The request's images cannot all be answered before its deadline. Send fewer at a time, or "
    "try again later."
)


class Admission:
    """Predicts when a new request would be answered. Belongs to the event loop.

    What counts is the work ahead: images whose bodies are being read, that wait for a core or
    an engine, or are with one, each at its average duration. A queue that is bounded by
    number alone is too long for a slow model and too short for a quick one; and what is
    admitted beyond the patience of clients is computed for nobody.

    Args:
        max_wait_s: Longest wait of a new request before its own work begins.
        cores: Images worked on at a time.
    """

    def __init__(self, max_wait_s: float, cores: int) -> None:
        self.max_wait_s = max_wait_s
        self._cores = cores

    def expected_wait_s(self, load: Load, others: Sequence[Load]) -> float:
        """Give the seconds until work on a new request would begin.

        The cores are shared fairly: another model's work is ahead only as far as its share goes
        until the model's own is done.

        Args:
            load: Of the model it asks for.
            others: Of the models beside it.
        """
        if load.ahead + sum(other.ahead for other in others) < self._cores:
            return load.device_s  # a core is free, however long the others are taken
        own_s = load.core_s
        share_s = own_s + load.core_item.value
        cores_s = own_s + sum(min(other.core_s, share_s) for other in others)
        return max(cores_s / self._cores, load.device_s)

    def verify(
        self, load: Load, others: Sequence[Load], deadline: Deadline, images: int = 1
    ) -> None:
        """Refuse what would be answered too late.

        Args:
            load: Of the model it asks for.
            others: Of the models beside it.
            deadline: Of the request.
            images: How many it has, as far as is known.

        Raises:
            QueueFullError: The wait would be too long, or the deadline would be missed.
        """
        wait_s = self.expected_wait_s(load, others)
        if wait_s > self.max_wait_s:
            raise QueueFullError(TOO_BUSY, retry_after_s(wait_s))
        # An image needs a core and the device, one after the other; many need them side by side.
        lone_s = load.core_item.value + load.device_item.value
        many_s = images * max(load.core_item.value / self._cores, load.device_item.value)
        if wait_s + max(lone_s, many_s) > deadline.remaining_s:
            raise QueueFullError(NOT_IN_TIME, retry_after_s(wait_s))


def retry_after_s(wait_s: float) -> int:
    """Give whole seconds after which another try is sensible: when the work ahead is done."""
    jitter = random.randint(0, RETRY_JITTER_S)  # noqa: S311 - no secret
    return min(MAX_RETRY_AFTER_S, max(1, math.ceil(wait_s)) + jitter)
