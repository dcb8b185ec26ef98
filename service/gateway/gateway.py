"""The gateway: inbox, workers and DIMSE."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any

from service.errors import NotReadyError, StartupError
from service.gateway.deliver.bearer import service_auth
from service.gateway.deliver.commitment import CommitmentTask
from service.gateway.deliver.delivery_task import DeliveryTask, Sender
from service.gateway.deliver.dimse import DimseSender
from service.gateway.deliver.stow import StowSender
from service.gateway.destinations import Destination
from service.gateway.dimse.association import IdleAssociations
from service.gateway.known_state import KnownState, read_state
from service.gateway.receive.commitment import Commitment
from service.gateway.receive.dimse import DimseServer
from service.gateway.receive.intake import Intake
from service.gateway.settings import GatewaySettings
from service.gateway.signals import Signals
from service.gateway.store.commitment_reports import CommitmentReports
from service.gateway.store.database import Database
from service.gateway.store.housekeeping import Housekeeping
from service.gateway.store.inbox import Inbox
from service.gateway.store.leases import Leasing, release_all
from service.gateway.store.ledger import Ledger
from service.gateway.store.orphans import OrphanedFiles
from service.gateway.store.outbox import Outbox
from service.gateway.store.spool import Spool
from service.gateway.work.analysis import Analysis
from service.gateway.work.analysis_task import AnalysisTask, BuildNotAnalysed
from service.gateway.work.loop import Worker, endless_retry
from service.gateway.work.pace import PacedAnalysis
from service.lifecycle import Lifecycle
from service.telemetry.gateway import GatewayMetrics
from service.telemetry.logs import log_event

PATIENCE = 0.25  # of the timeout: a lease is one and a half of it
REPORTS_AT_A_TIME = 1  # to a peer: a modality may have room for one association
ABORT_S = 2.0  # for workers that did not finish in time


class Gateway:
    """Everything behind a gateway's HTTP interface."""

    def __init__(
        self, settings: GatewaySettings, build_not_analysed: BuildNotAnalysed | None = None
    ) -> None:
        if not settings.destinations:
            raise StartupError("CXR_GATEWAY_DESTINATIONS: name at least one archive for results.")
        self.settings = settings
        self.lifecycle = Lifecycle()
        self.signals = Signals()
        try:
            self.spool = Spool(Path(settings.spool_dir), settings.min_free_bytes)
        except OSError as error:
            raise StartupError(f"The spool folder cannot be used: {error.strerror}.") from None
        self.database = Database(settings.sqlalchemy_url)
        owner = f"{socket.gethostname()[:24]}-{os.getpid()}-{secrets.token_hex(4)}"
        self._leasing = Leasing(owner, settings.lease_s)
        self.ledger = Ledger(self.database, self.spool)
        self.known_state = KnownState(lambda: read_state(self.ledger, self.spool))
        self.metrics = GatewayMetrics(self.known_state.last)
        names = [destination.name for destination in settings.destinations]
        inbox = Inbox(self.database, self.spool, self._leasing, names)
        self.intake = Intake(inbox, self.spool, self.signals, self.metrics)
        self._orphans = OrphanedFiles(
            self.database, self.spool, self.signals, self.metrics.stray_settled
        )
        self._housekeeping = Housekeeping(self.ledger, self._orphans, settings, self.signals)
        self._analysis = Analysis(
            settings.service_url,
            settings.analysis_timeout_s,
            model=settings.model,
            operating_point=settings.operating_point,
            connections=settings.analysis_workers,
            auth=service_auth(settings),
        )
        self._senders = {one.name: self._sender(one) for one in settings.destinations}
        reports = CommitmentReports(self.database, self._leasing)
        idle = IdleAssociations()
        self._workers = self._build_workers(inbox, reports, idle, build_not_analysed)
        commitment = Commitment(inbox, reports, idle, settings.dimse_peers)
        self._dimse = (
            DimseServer(settings, self.intake, commitment, self.metrics)
            if settings.dimse == "on"
            else None
        )

    @property
    def dimse_port(self) -> int | None:
        """DIMSE port, if on."""
        return self._dimse.port if self._dimse is not None else None

    def start(self) -> None:
        """Resume an earlier process's work, then start working and listening."""
        is_alone = not self.settings.is_shared
        if is_alone:
            self.spool.lock()
        self.database.migrate()
        orphans: list[str] = []
        if is_alone:
            # No other process is alive: every lease and every half received file is a dead one's.
            release_all(self.database, None)
            self.spool.sweep_incoming(0.0)
            orphans = self._orphans.find(0.0)  # before anything new arrives
        self.known_state.refresh()
        for worker in self._workers:
            worker.start()
        threading.Thread(
            target=self._housekeeping.run, args=(orphans,), name="housekeeping", daemon=True
        ).start()
        if self._dimse is not None:
            self._dimse.start()
        self.lifecycle.become_ready()
        log_event(logging.INFO, "gateway ready", destinations=sorted(self._senders))

    def stop(self) -> None:
        """Finish work while time remains, and release the rest."""
        self.lifecycle.drain()
        self.signals.stop()
        if self._dimse is not None:
            self._dimse.stop()
        self._join(self.settings.drain_s)
        self._analysis.close()
        for sender in self._senders.values():
            sender.close()
        self._join(ABORT_S)
        release_all(self.database, self._leasing.owner)
        self.database.close()
        self.spool.unlock()
        log_event(logging.INFO, "gateway stopped")

    def verify_accepting(self) -> None:
        """Raise unless objects are accepted."""
        if not self.lifecycle.is_ready:
            raise NotReadyError("The gateway is starting or stopping. Try again.", 2)
        self.spool.verify_room()

    def _build_workers(
        self,
        inbox: Inbox,
        reports: CommitmentReports,
        idle: IdleAssociations,
        build_not_analysed: BuildNotAnalysed | None,
    ) -> list[Worker[Any]]:
        settings, signals = self.settings, self.signals
        retry = endless_retry(settings.retry_base_s, settings.retry_longest_s)
        paced = PacedAnalysis(
            self._analysis,
            signals,
            most=settings.analysis_workers,
            patience_s=PATIENCE * settings.analysis_timeout_s,
        )
        analysis = AnalysisTask(inbox, self.spool, paced, signals, self.metrics, build_not_analysed)
        delivery = DeliveryTask(
            Outbox(self.database, self._leasing),
            self.spool,
            self._senders,
            self.metrics,
            self._housekeeping.on_done,
        )
        commitment = CommitmentTask(
            reports, idle, settings.ae_title, settings.dimse_peers, settings.delivery_timeout_s
        )
        analysed_h, delivered_h = settings.analysis_max_h, settings.delivery_max_h
        return [
            Worker(task, slots, signals, bell, retry=retry, longest_h=longest_h)
            for task, slots, bell, longest_h in (
                (analysis, settings.analysis_workers, signals.analysis, analysed_h),
                (delivery, settings.delivery_workers, signals.delivery, delivered_h),
                (commitment, REPORTS_AT_A_TIME, signals.report, delivered_h),
            )
        ]

    def _sender(self, destination: Destination) -> Sender:
        timeout_s = self.settings.delivery_timeout_s
        if destination.kind == "stow":
            token_file = self.settings.destination_token_files.get(destination.name)
            return StowSender(destination, timeout_s, token_file)
        return DimseSender(destination, self.settings.ae_title, timeout_s)

    def _join(self, longest_s: float) -> None:
        until_s = time.monotonic() + longest_s
        for worker in self._workers:
            worker.join(until_s)
