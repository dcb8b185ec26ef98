"""One gateway: inbox, workers and DIMSE, started and stopped together."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from service.errors import NotReadyError, StartupError
from service.gateway.deliver.bearer import service_auth
from service.gateway.deliver.commitment import CommitmentReporter
from service.gateway.deliver.dimse import DimseSender
from service.gateway.deliver.stow import StowSender
from service.gateway.destinations import Destination
from service.gateway.dimse.held import HeldAssociations
from service.gateway.errors import InsufficientStorageError
from service.gateway.known_state import KnownState
from service.gateway.receive.commitment import Commitment
from service.gateway.receive.dimse import DimseServer
from service.gateway.receive.intake import Intake
from service.gateway.settings import GatewaySettings
from service.gateway.signals import Signals
from service.gateway.store.commitment_reports import CommitmentReports
from service.gateway.store.database import Database
from service.gateway.store.inbox import Inbox
from service.gateway.store.leases import Leasing
from service.gateway.store.ledger import Ledger
from service.gateway.store.outbox import Outbox
from service.gateway.store.spool import Spool
from service.gateway.store.strays import Strays
from service.gateway.work.analysis import Analysis
from service.gateway.work.bulkheads import Bulkheads
from service.gateway.work.pace import PacedAnalysis
from service.gateway.work.workers import (
    S_PER_H,
    Analyst,
    BuildNotAnalysed,
    Courier,
    Sender,
    endless_retry,
)
from service.lifecycle import Lifecycle
from service.telemetry.gateway import GatewayMetrics, GatewayState
from service.telemetry.logs import log_event

LOCK_FILE = "gateway.lock"
HOUSEKEEPING_S = 60.0
PATIENCE = 0.25  # of the timeout: a lease is one and a half of it
REPORTS_AT_A_TIME = 1  # to a peer: a modality may have room for one association
STRAY_AGE_S = 3600.0  # far longer than the way from a file to its row
S_PER_D = 86_400.0
LAST_WORDS_S = 2.0  # for workers whose time to finish is over


class Gateway:
    """What runs behind the HTTP of a gateway.

    Args:
        settings: The operator's.
        build_not_analysed: Makes the report of an object that is refused for good; None if
            such an object is a dead letter.

    Raises:
        StartupError: The settings do not make a gateway, or the spool cannot be used.
    """

    def __init__(
        self, settings: GatewaySettings, build_not_analysed: BuildNotAnalysed | None = None
    ) -> None:
        if not settings.destinations:
            raise StartupError("CXR_GATEWAY_DESTINATIONS: name at least one archive for results.")
        self.settings = settings
        self.lifecycle = Lifecycle()
        self._lock: IO[str] | None = None
        try:
            self.spool = Spool(Path(settings.spool_dir), settings.min_free_bytes)
        except OSError as error:
            raise StartupError(f"The spool folder cannot be used: {error.strerror}.") from None
        self.database = Database(settings.sqlalchemy_url)
        owner = f"{socket.gethostname()[:24]}-{os.getpid()}-{secrets.token_hex(4)}"
        leasing = Leasing(owner, settings.lease_s)
        names = [destination.name for destination in settings.destinations]
        self.signals = Signals()
        self.known_state = KnownState(self._read_state)
        self.metrics = GatewayMetrics(self.known_state.last)
        self._inbox = Inbox(self.database, self.spool, leasing, names)
        self.ledger = Ledger(self.database, self.spool)
        self._strays = Strays(self.database, self.spool, self.signals, self.metrics.stray_settled)
        self._left: list[str] = []
        self.intake = Intake(self._inbox, self.spool, self.signals, self.metrics)
        self._analysis = Analysis(
            settings.service_url,
            settings.analysis_timeout_s,
            model=settings.model,
            operating_point=settings.operating_point,
            connections=settings.analysis_workers,
            auth=service_auth(settings),
        )
        self._senders = {one.name: self._sender(one) for one in settings.destinations}
        retry = endless_retry(settings.retry_base_s, settings.retry_longest_s)
        self._analyst = Analyst(
            self._inbox,
            self.spool,
            PacedAnalysis(
                self._analysis,
                self.signals,
                most=settings.analysis_workers,
                patience_s=PATIENCE * settings.analysis_timeout_s,
            ),
            self.signals,
            self.metrics,
            retry=retry,
            longest_h=settings.analysis_max_h,
            build_not_analysed=build_not_analysed,
        )
        outbox = Outbox(self.database, leasing)
        courier = Courier(
            outbox,
            self.spool,
            self._senders,
            self.signals,
            self.metrics,
            retry=retry,
            longest_h=settings.delivery_max_h,
            on_done=self._on_done,
        )
        self._deliveries = Bulkheads(
            "courier",
            settings.delivery_workers,
            lease=outbox.lease,
            whose=lambda delivery: delivery.destination,
            work=courier.deliver,
            signals=self.signals,
            bell=self.signals.delivery,
        )
        self._reports, held = CommitmentReports(self.database, leasing), HeldAssociations()
        reporter = CommitmentReporter(
            self._reports,
            held,
            settings.ae_title,
            settings.dimse_peers,
            self.signals,
            timeout_s=settings.delivery_timeout_s,
            retry=retry,
            longest_h=settings.delivery_max_h,
        )
        self._reporting = Bulkheads(
            "reporter",
            REPORTS_AT_A_TIME,
            lease=self._reports.lease,
            whose=lambda report: report.ae_title,
            work=reporter.report,
            signals=self.signals,
            bell=self.signals.report,
        )
        commitment = Commitment(self._inbox, self._reports, held, settings.dimse_peers)
        self._dimse = (
            DimseServer(settings, self.intake, commitment, self.metrics)
            if settings.dimse == "on"
            else None
        )
        self._threads: list[threading.Thread] = []

    @property
    def dimse_port(self) -> int | None:
        """Port of DIMSE, None if it is off."""
        return self._dimse.port if self._dimse is not None else None

    def start(self) -> None:
        """Take up what an earlier life left, then begin to work and to listen.

        Raises:
            StartupError: The inbox is not to be had.
        """
        is_alone = not self.settings.is_shared
        if is_alone:
            self._take_lock()
        self.database.migrate()
        if is_alone:
            # Nobody else is alive: whatever is leased was ours, whatever is half there is dead.
            self._inbox.release_all(of_everybody=True)
            self._reports.release_all(of_everybody=True)
            self.spool.sweep_incoming(0.0)
            self._left = self._strays.find(0.0)  # before anything new comes
        self.known_state.refresh()
        settings = self.settings
        self._spawn("analyst", self._analyst.run, settings.analysis_workers)
        self._spawn("courier", self._deliveries.run, 1)
        self._spawn("reporter", self._reporting.run, 1)
        self._spawn("housekeeper", self._keep_house, 1)
        if self._dimse is not None:
            self._dimse.start()
        self.lifecycle.become_ready()
        log_event(logging.INFO, "gateway ready", destinations=sorted(self._senders))

    def stop(self) -> None:
        """Finish what is under way for a while, and give the rest back to the inbox."""
        self.lifecycle.drain()
        self.signals.stop()
        if self._dimse is not None:
            self._dimse.stop()
        self._join(self.settings.drain_s)
        self._analysis.close()
        for sender in self._senders.values():
            sender.close()
        self._join(LAST_WORDS_S)
        self._inbox.release_all(of_everybody=False)
        self._reports.release_all(of_everybody=False)
        self.database.close()
        if self._lock is not None:
            self._lock.close()
        log_event(logging.INFO, "gateway stopped")

    def verify_accepting(self) -> None:
        """Refuse unless objects are taken.

        Raises:
            NotReadyError: Starting or stopping.
            InsufficientStorageError: The disk is as full as it may be.
        """
        if not self.lifecycle.is_ready:
            raise NotReadyError("The gateway is starting or stopping. Try again.", 2)
        self.spool.verify_room()

    def _take_lock(self) -> None:
        self._lock = (self.spool.folder / LOCK_FILE).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartupError(
                "Another gateway uses this spool folder. Several share one only with "
                "CXR_GATEWAY_DATABASE_URL."
            ) from None

    def _sender(self, destination: Destination) -> Sender:
        timeout_s = self.settings.delivery_timeout_s
        if destination.kind == "stow":
            token_file = self.settings.destination_token_files.get(destination.name)
            return StowSender(destination, timeout_s, token_file)
        return DimseSender(destination, self.settings.ae_title, timeout_s)

    def _spawn(self, name: str, run: Callable[[], None], count: int) -> None:
        for i in range(count):
            thread = threading.Thread(target=run, name=f"{name}-{i}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _join(self, longest_s: float) -> None:
        """Wait for the workers, and for what they have begun."""
        until_s = time.monotonic() + longest_s
        threads = [*self._threads, *self._deliveries.threads, *self._reporting.threads]
        for thread in threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    def _on_done(self, job_seq: int) -> None:
        if self.settings.keep_done_h == 0:
            self.ledger.forget_bytes(job_seq)

    def _keep_house(self) -> None:
        while not self.signals.is_stopping:  # at once: a crash may have come before a deletion
            try:
                left, self._left = self._left, []
                self._strays.settle(left)
                self.tidy()
            except Exception as error:  # the database or the disk is away
                log_event(logging.ERROR, "housekeeping failed", error)
            self.signals.wait_until_stopping(HOUSEKEEPING_S)

    def tidy(self) -> None:
        """Delete what is kept no longer."""
        settings, ledger = self.settings, self.ledger
        ledger.purge("done", settings.keep_done_h * S_PER_H)
        ledger.purge("dead", settings.keep_dead_h * S_PER_H)
        rows_s = settings.keep_rows_d * S_PER_D
        ledger.purge("done", max(rows_s, settings.keep_done_h * S_PER_H), rows=True)
        ledger.purge("dead", max(rows_s, settings.keep_dead_h * S_PER_H), rows=True)
        self._strays.sweep(STRAY_AGE_S)

    def _read_state(self) -> GatewayState:
        backlog = self.ledger.backlog()
        try:
            self.spool.verify_room()
            is_accepting = True
        except InsufficientStorageError:
            is_accepting = False
        return GatewayState(
            backlog.counts,
            backlog.oldest_s,
            self.spool.free_bytes,
            is_accepting,
            self.spool.quarantined,
        )
