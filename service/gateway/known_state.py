"""The gateway's last known state, without waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from service.deadline import Clock
from service.gateway.errors import InsufficientStorageError
from service.gateway.store.ledger import Ledger
from service.gateway.store.spool import Spool
from service.telemetry.gateway import GatewayState


class KnownState:
    """The last read state. Any thread."""

    def __init__(self, read: Callable[[], GatewayState], clock: Clock = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._known = GatewayState()
        self._read_s = clock()

    def refresh(self) -> None:
        """Reread the state."""
        begun_s = self._clock()
        self._known = self._read()
        self._read_s = begun_s

    def last(self) -> GatewayState:
        """Return the last state and its age without waiting."""
        return replace(self._known, age_s=self._clock() - self._read_s)


def read_state(ledger: Ledger, spool: Spool) -> GatewayState:
    """Read the state from database and disk."""
    backlog = ledger.backlog()
    try:
        spool.verify_room()
        is_accepting = True
    except InsufficientStorageError:
        is_accepting = False
    return GatewayState(
        backlog.counts, backlog.oldest_s, spool.free_bytes, is_accepting, spool.quarantined
    )
