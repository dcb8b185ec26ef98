"""What state the service is in, and how much it has accepted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from service.deadline import Clock
from service.errors import NotReadyError

State: TypeAlias = Literal["starting", "ready", "draining", "failed"]

RETRY_STARTING_S = 2  # bundles load in seconds
RETRY_DRAINING_S = 1  # another replica can answer at once


class Lifecycle:
    """starting -> ready -> draining, or starting -> failed. Belongs to the event loop.

    Args:
        clock: Gives seconds, for the uptime.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._started_s = clock()
        self._idle = asyncio.Event()
        self._idle.set()
        self.state: State = "starting"
        self.active_requests = 0

    @property
    def uptime_s(self) -> float:
        """Seconds since the service was started."""
        return self._clock() - self._started_s

    @property
    def is_ready(self) -> bool:
        """Whether predictions are accepted."""
        return self.state == "ready"

    def become_ready(self) -> None:
        """Accept predictions from now on, unless the service is already being stopped."""
        if self.state == "starting":
            self.state = "ready"

    def fail(self) -> None:
        """Give up starting."""
        if self.state == "starting":
            self.state = "failed"

    def drain(self) -> None:
        """Accept nothing more; what was accepted goes on."""
        if self.state != "failed":
            self.state = "draining"

    def verify_ready(self) -> None:
        """Refuse unless ready.

        Raises:
            NotReadyError: Starting or draining.
        """
        if self.state == "ready":
            return
        if self.state == "starting":
            raise NotReadyError("The models are being loaded. Try again.", RETRY_STARTING_S)
        raise NotReadyError("The service is stopping. Try another replica.", RETRY_DRAINING_S)

    @contextmanager
    def accepted_request(self) -> Iterator[None]:
        """Hold the service up while a request is being answered.

        Raises:
            NotReadyError: Starting or draining.
        """
        self.verify_ready()
        self.active_requests += 1
        self._idle.clear()
        try:
            yield
        finally:
            self.active_requests -= 1
            if not self.active_requests:
                self._idle.set()

    async def finish_accepted(self, timeout_s: float) -> bool:
        """Wait until nothing accepted is left.

        Returns:
            False if the time was over first.
        """
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True
