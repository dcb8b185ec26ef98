"""What a gateway last knew of itself, for those who must not wait for the database or the disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from service.deadline import Clock
from service.telemetry.gateway import GatewayState


class KnownState:
    """The state that was read last. Any thread.

    Args:
        read: Reads it, however long that takes.
        clock: Gives seconds.
    """

    def __init__(self, read: Callable[[], GatewayState], clock: Clock = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._known = GatewayState()
        self._read_s = clock()

    def refresh(self) -> None:
        """Read the state anew.

        Raises:
            OSError: The disk does not tell.
            SQLAlchemyError: The database does not tell.
        """
        begun_s = self._clock()
        self._known = self._read()
        self._read_s = begun_s

    def last(self) -> GatewayState:
        """Give what was read last, with its age. Waits for nothing."""
        return replace(self._known, age_s=self._clock() - self._read_s)
