"""What state the service is in, and how much it has accepted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias

from service.deadline import Clock
from service.errors import NotReadyError

State: TypeAlias = Literal["starting", "ready", "stalled", "draining", "failed"]

RETRY_STARTING_S = 2  # bundles load in seconds
RETRY_DRAINING_S = 1  # another replica can answer at once

STALLED = "Work begun long ago holds up everything else. Try another replica."


def never() -> bool:
    """Return False."""
    return False


class Lifecycle:
    """starting -> ready -> draining, or starting -> failed. Belongs to the event loop.

    A service that is ready is *stalled* for as long as nothing comes back from its cores or its
    engine, and ready again by itself when something does.
    """

    def __init__(
        self, clock: Clock = time.monotonic, is_stalled: Callable[[], bool] = never
    ) -> None:
        self._clock = clock
        self._is_stalled = is_stalled
        self._started_s = clock()
        self._idle = asyncio.Event()
        self._idle.set()
        self._state: State = "starting"
        self.active_requests = 0

    @property
    def state(self) -> State:
        """What the service is doing."""
        return "stalled" if self._state == "ready" and self._is_stalled() else self._state

    @property
    def uptime_s(self) -> float:
        """Seconds since the service was started."""
        return self._clock() - self._started_s

    @property
    def is_draining(self) -> bool:
        """Whether nothing more is accepted, since the service is being stopped."""
        return self._state == "draining"

    @property
    def is_ready(self) -> bool:
        """Whether predictions are accepted."""
        return self.state == "ready"

    def become_ready(self) -> None:
        """Accept predictions from now on, unless the service is being stopped."""
        if self._state == "starting":
            self._state = "ready"

    def fail(self) -> None:
        """Give up starting."""
        if self._state == "starting":
            self._state = "failed"

    def drain(self) -> None:
        """Accept nothing more; what was accepted goes on."""
        if self._state != "failed":
            self._state = "draining"

    def verify_ready(self) -> None:
        """Raise NotReadyError unless ready."""
        state = self.state
        if state == "ready":
            return
        if state == "starting":
            raise NotReadyError("The models are being loaded. Try again.", RETRY_STARTING_S)
        if state == "stalled":
            raise NotReadyError(STALLED, RETRY_DRAINING_S)
        raise NotReadyError("The service is stopping. Try another replica.", RETRY_DRAINING_S)

    @contextmanager
    def accepted_request(self) -> Iterator[None]:
        """Hold the service up while a request is being answered.

        Raises:
            NotReadyError: Starting, stalled or draining.
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
        """Wait until nothing accepted is left; return False if the time was over first."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_s)
        except TimeoutError:
            return False
        return True
