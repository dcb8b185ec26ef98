"""Whether a request may come in: by when it would be answered, not by how many wait."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from service.deadline import Deadline
from service.errors import QueueFullError

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


class Backlog(Protocol):
    """Work that was accepted and is not done."""

    @property
    def backlog_s(self) -> float:
        """Seconds until it should be done."""

    @property
    def mean_item_s(self) -> float:
        """Seconds of work for one image."""

    @property
    def concurrency(self) -> int:
        """Images worked on at a time."""


class Admission:
    """Predicts when a new request would be answered. Belongs to the event loop.

    What counts is the work ahead: images whose bodies are being read, that wait for a decoder
    or an engine, or are with one, each at its average duration. A queue that is bounded by
    number alone is too long for a slow model and too short for a quick one; and what is
    admitted beyond the patience of clients is computed for nobody.

    Args:
        max_wait_s: Longest wait of a new request before its own work begins.
    """

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self._reading = 0

    @property
    def reading(self) -> int:
        """Requests whose bodies are being read."""
        return self._reading

    def expected_wait_s(self, stages: Sequence[Backlog]) -> float:
        """Seconds until work on a new request would begin.

        Args:
            stages: What every image passes: the decoder, and the batchers of all models that
                share the machine; the last is the one that would take the request.
        """
        read_s = sum(s.mean_item_s / s.concurrency for s in (stages[0], stages[-1]))
        return sum(stage.backlog_s for stage in stages) + self._reading * read_s

    def verify(self, stages: Sequence[Backlog], deadline: Deadline, images: int = 1) -> None:
        """Refuse what would be answered too late.

        Args:
            stages: As for :meth:`expected_wait_s`.
            deadline: Of the request.
            images: How many it has, as far as is known.

        Raises:
            QueueFullError: The wait would be too long, or the deadline would be missed.
        """
        wait_s = self.expected_wait_s(stages)
        if wait_s > self._max_wait_s:
            raise QueueFullError(TOO_BUSY, retry_after_s(wait_s))
        own_s = images * sum(s.mean_item_s / s.concurrency for s in (stages[0], stages[-1]))
        if wait_s + own_s > deadline.remaining_s:
            raise QueueFullError(NOT_IN_TIME, retry_after_s(wait_s))

    @contextmanager
    def body_being_read(self) -> Iterator[None]:
        """Count a request among the work ahead while its body arrives."""
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1


def retry_after_s(wait_s: float) -> int:
    """Give whole seconds after which another try is sensible: when the work ahead is done."""
    jitter = random.randint(0, RETRY_JITTER_S)  # noqa: S311 - no secret
    return min(MAX_RETRY_AFTER_S, max(1, math.ceil(wait_s)) + jitter)
