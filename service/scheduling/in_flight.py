"""How much work a model has under way, and how much an image of it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import QueueFullError
from service.scheduling.moving_mean import MovingMean

UNKNOWN_ITEM_S = 0.01
"""What an image costs before one was measured: at no cost a first flood would pass everybody."""

SMOOTHING = 0.1  # weight of the newest image in the means: files differ in size


class Load:
    """One model's images under way. Belongs to the event loop.

    Attributes:
        core_item: Mean seconds of a core for one image.
        device_item: Mean seconds of a device of the model's own for one image; 0 without one.
        under_way: Images accepted and not done.
        arriving: Requests whose bodies are on their way, of an image each as far as is known.

    Args:
        capacity: Most images under way.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.core_item = MovingMean(SMOOTHING)
        self.device_item = MovingMean(SMOOTHING)
        self.under_way = 0
        self.arriving = 0

    @property
    def ahead(self) -> int:
        """Images that a new one would come behind."""
        return self.under_way + self.arriving

    @property
    def core_s(self) -> float:
        """Seconds of one core until everything under way is done."""
        return self.ahead * self.core_item.value

    @property
    def device_s(self) -> float:
        """Seconds of the device until everything under way is done."""
        return self.ahead * self.device_item.value

    @property
    def charged_s(self) -> float:
        """Seconds of a core that an image is expected to take of the model's share."""
        return self.core_item.value or UNKNOWN_ITEM_S

    def verify_room(self, count: int, retry_after_s: int) -> None:
        """Refuse what would be too many images.

        Raises:
            QueueFullError: Fewer than ``count`` places are free.
        """
        if self.under_way + count > self.capacity:
            raise QueueFullError(
                "The queue is full and nothing of the request was queued. Try again later.",
                retry_after_s,
            )

    def expect_like(self, other: Load) -> None:
        """Take over what an image cost another version, until one of this was measured."""
        for mean, known in (
            (self.core_item, other.core_item),
            (self.device_item, other.device_item),
        ):
            mean.value = mean.value or known.value

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Count images as under way meanwhile."""
        self.under_way += count
        try:
            yield
        finally:
            self.under_way -= count

    @contextmanager
    def expect(self, longest_s: float) -> Iterator[None]:
        """Count a request as arriving while its body is read.

        Args:
            longest_s: After that long it no longer counts: who sends slowly must not keep others
                out.
        """
        counted = True

        def forget() -> None:
            nonlocal counted
            if counted:
                counted = False
                self.arriving -= 1

        self.arriving += 1
        timer = asyncio.get_running_loop().call_later(longest_s, forget)
        try:
            yield
        finally:
            timer.cancel()
            forget()
