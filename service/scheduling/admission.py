"""Work in flight, and whether a request is admitted: by when it would be answered."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from service.deadline import Deadline
from service.errors import QueueFullError

UNKNOWN_ITEM_S = 0.01
"""Cost of an image before one was measured: at no cost a first flood would be admitted whole."""

SMOOTHING = 0.1  # weight of the newest image in the means: files differ in size
MOST = 8.0  # times the mean: sound files of one sender differ less
MAX_RETRY_AFTER_S = 60
RETRY_JITTER_S = 1
"""Clients that were refused together should not come back together."""

NO_ROOM = "The queue is full and nothing of the request was queued. Try again later."
TOO_BUSY = (
    "The service has more to do than it can answer in time, and nothing of the request was read. "
    "Try again later."
)
NOT_IN_TIME = (
    "The request's images cannot all be answered before its deadline. Send fewer at a time, or "
    "try again later."
)


class MovingMean:
    """Exponentially weighted mean; a value counts ``MOST`` times the mean at most.

    So one that is far out of line, a hostile file for instance, does not speak for all others.
    """

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self.value = 0.0

    def add(self, newest: float) -> None:
        """Take another value in; the first one counts whole."""
        known = self.value or newest
        self.value = known + self._smoothing * (min(newest, MOST * known) - known)


class InFlight:
    """One model's work in flight. Belongs to the event loop.

    Attributes:
        core_item: Mean seconds of a core for one image.
        device_item: Mean seconds of the model's own device for one image; 0 without one.
        images: Accepted and not done, at most ``capacity``.
        arriving: Requests whose bodies are being read, of an image each as far as is known.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.core_item = MovingMean(SMOOTHING)
        self.device_item = MovingMean(SMOOTHING)
        self.images = 0
        self.arriving = 0

    @property
    def core_s(self) -> float:
        """Seconds of one core until all of it is done."""
        return (self.images + self.arriving) * self.core_item.value

    @property
    def device_s(self) -> float:
        """Seconds of the device until all of it is done."""
        return (self.images + self.arriving) * self.device_item.value

    @property
    def charged_s(self) -> float:
        """Seconds of a core that an image is expected to take of the model's share."""
        return self.core_item.value or UNKNOWN_ITEM_S

    def verify_room(self, count: int) -> None:
        """Raise QueueFullError if fewer than ``count`` places are free."""
        if self.images + count > self.capacity:
            raise QueueFullError(NO_ROOM, retry_after_s(self.core_s + self.device_s))

    def expect_like(self, other: InFlight) -> None:
        """Assume another version's costs until an image of this one was measured."""
        self.core_item.value = self.core_item.value or other.core_item.value
        self.device_item.value = self.device_item.value or other.device_item.value

    @contextmanager
    def receiving(self, longest_s: float) -> Iterator[None]:
        """Count a request as arriving while its body is read, but not a slow one for ever."""
        is_counted = True

        def forget() -> None:
            nonlocal is_counted
            self.arriving -= is_counted
            is_counted = False

        self.arriving += 1
        timer = asyncio.get_running_loop().call_later(longest_s, forget)
        try:
            yield
        finally:
            timer.cancel()
            forget()


class Admission:
    """Predicts when a new request would be answered. Belongs to the event loop.

    What counts is the work ahead: images whose bodies are being read, that wait for a core or an
    engine, or are with one, each at its average duration. A queue bounded by number alone is too
    long for a slow model and too short for a quick one.

    Args:
        max_wait_s: Longest wait of a new request before its own work begins.
        cores: Number of images worked on at a time.
    """

    def __init__(self, max_wait_s: float, cores: int) -> None:
        self.max_wait_s = max_wait_s
        self._cores = cores

    def expected_wait_s(self, own: InFlight, all_models: Iterable[InFlight]) -> float:
        """Return the seconds until work on a new request for one model would begin.

        The cores are shared fairly: another model's work is ahead only as far as its share goes
        until the model's own is done.
        """
        ahead, cores_s = own.images + own.arriving, own.core_s
        share_s = cores_s + own.core_item.value
        for other in all_models:
            if other is not own:
                ahead += other.images + other.arriving
                cores_s += min(other.core_s, share_s)
        if ahead < self._cores:
            return own.device_s  # a core is free, however long the others are taken
        return max(cores_s / self._cores, own.device_s)

    def verify(
        self,
        own: InFlight,
        all_models: Iterable[InFlight],
        deadline: Deadline,
        images: int = 1,
    ) -> None:
        """Refuse a request for ``images`` images, as far as is known.

        Raises:
            QueueFullError: There is no room, the wait would be too long, or the deadline would be
                missed.
        """
        own.verify_room(images)
        wait_s = self.expected_wait_s(own, all_models)
        if wait_s > self.max_wait_s:
            raise QueueFullError(TOO_BUSY, retry_after_s(wait_s))
        # An image needs a core and the device, one after the other; many need them side by side.
        lone_s = own.core_item.value + own.device_item.value
        many_s = images * max(own.core_item.value / self._cores, own.device_item.value)
        if wait_s + max(lone_s, many_s) > deadline.remaining_s:
            raise QueueFullError(NOT_IN_TIME, retry_after_s(wait_s))


def retry_after_s(wait_s: float) -> int:
    """Return whole seconds after which another try is sensible: when the work ahead is done."""
    jitter = random.randint(0, RETRY_JITTER_S)  # noqa: S311 - no secret
    return min(MAX_RETRY_AFTER_S, max(1, math.ceil(wait_s)) + jitter)
