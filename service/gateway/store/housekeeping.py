"""Periodic deletion of expired data."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from service.gateway.settings import GatewaySettings
from service.gateway.signals import Signals
from service.gateway.store.ledger import Ledger
from service.gateway.store.orphans import OrphanedFiles
from service.gateway.store.states import State
from service.telemetry.logs import log_event

HOUSEKEEPING_S = 60.0
ORPHAN_AGE_S = 3600.0  # far longer than an object takes from its file to its row
S_PER_H = 3600.0
S_PER_D = 86_400.0


class Housekeeping:
    """Deletes expired data once a minute."""

    def __init__(
        self, ledger: Ledger, orphans: OrphanedFiles, settings: GatewaySettings, signals: Signals
    ) -> None:
        self._ledger = ledger
        self._orphans = orphans
        self._settings = settings
        self._signals = signals

    def run(self, found: Iterable[str]) -> None:
        """Run until stopped; first settle these orphaned files."""
        left = found
        while not self._signals.is_stopping:  # first at once: a crash may have prevented deletions
            try:
                names, left = left, ()
                self._orphans.settle(names)
                self._delete_old()
                self._orphans.sweep(ORPHAN_AGE_S)
            except Exception as error:  # the database or the disk is unavailable
                log_event(logging.ERROR, "housekeeping failed", error)
            self._signals.wait_until_stopping(HOUSEKEEPING_S)

    def on_done(self, job_seq: int) -> None:
        """Delete a job's bytes, unless configured otherwise."""
        if self._settings.keep_done_h == 0:
            self._ledger.forget_bytes(job_seq)

    def _delete_old(self) -> None:
        settings = self._settings
        kept_h: dict[State, float] = {"done": settings.keep_done_h, "dead": settings.keep_dead_h}
        rows_s = settings.keep_rows_d * S_PER_D
        for state, hours in kept_h.items():
            bytes_s = hours * S_PER_H
            self._ledger.purge(state, bytes_s)
            self._ledger.purge(state, max(rows_s, bytes_s), rows=True)
