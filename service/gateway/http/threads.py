"""Threads for blocking work: one kind may hang alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread

from service.deadline import Clock
from service.errors import QueueFullError
from service.gateway.known_state import KnownState
from service.telemetry.logs import log_event

STORING = 16  # requests that write or file an object at a time; more wait
LONGEST_LOOK_S = 0.05  # for a state that is not told at once, before the last known one is shown
RETRY_PULL_S = 5

P = ParamSpec("P")
R = TypeVar("R")


class Threads:
    """Runs limited blocking work. Event loop only."""

    def __init__(self, count: int) -> None:
        self._limiter = CapacityLimiter(count)

    async def run(self, work: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
        """Run one call."""
        return await to_thread.run_sync(
            lambda: work(*args, **named), limiter=self._limiter, abandon_on_cancel=True
        )


class Pulls:
    """Runs limited pulls, rejecting more. Event loop only."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._running = 0
        self._threads = Threads(most)

    async def run(self, pull: Callable[[], R]) -> R:
        """Pull one study, or raise QueueFullError."""
        if self._running >= self._most:
            raise QueueFullError(
                f"{self._most} studies are being pulled. Try again later.", RETRY_PULL_S
            )
        self._running += 1
        try:
            return await self._threads.run(pull)
        finally:
            self._running -= 1


class Outlook:
    """Refreshes a gateway's state. Event loop only."""

    def __init__(self, known: KnownState, clock: Clock = time.monotonic) -> None:
        self._known = known
        self._clock = clock
        self._threads = Threads(1)
        self._reading: asyncio.Task[None] | None = None
        self._asked_s = 0.0

    async def look(self) -> None:
        """Refresh the state, waiting briefly unless a refresh already hangs."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._asked_s = self._clock()
        left_s = LONGEST_LOOK_S - (self._clock() - self._asked_s)
        if left_s > 0:
            await asyncio.wait({self._reading}, timeout=left_s)

    async def _read(self) -> None:
        try:
            await self._threads.run(self._known.refresh)
        except Exception as error:  # the database or the disk is away
            log_event(logging.ERROR, "state not read", error)
        finally:
            self._reading = None
