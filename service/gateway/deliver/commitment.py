"""Reports of storage commitment (PS3.4, J.3.3)."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from service.client.exchange import Retry
from service.gateway.deliver.dimse import close_rejected
from service.gateway.destinations import Peer
from service.gateway.dimse.association import bounded
from service.gateway.dimse.held import HeldAssociations
from service.gateway.errors import LeaseLostError
from service.gateway.signals import Signals
from service.gateway.store.commitment_reports import CommitmentReport, CommitmentReports
from service.gateway.work.analysis import TryAgain
from service.gateway.work.workers import S_PER_H, delay_s, failure_reason
from service.telemetry.logs import log_event

ALL_COMMITTED, SOME_FAILED = 1, 2
NO_SUCH_INSTANCE = 0x0112
SUCCESS = 0x0000
NOT_CONFIGURED = "peer-not-configured"


class CommitmentReporter:
    """Sends reports. Any thread.

    A report goes over the association of its request while the peer still holds it, otherwise,
    or if that fails, over one of its own to the peer's configured port.

    Args:
        reports: What is to be sent.
        held: The associations of requests.
        ae_title: Our own.
        peers: Where reports go.
        signals: Say when to stop.
        timeout_s: Longest wait for each answer.
        retry: Of what does not arrive.
        longest_h: How long a report is tried.
    """

    def __init__(
        self,
        reports: CommitmentReports,
        held: HeldAssociations,
        ae_title: str,
        peers: Sequence[Peer],
        signals: Signals,
        *,
        timeout_s: float,
        retry: Retry,
        longest_h: float,
    ) -> None:
        self._reports = reports
        self._held = held
        self._ae_title = ae_title
        self._peers = {peer.ae_title: peer for peer in peers if peer.port}
        self._signals = signals
        self._timeout_s = timeout_s
        self._retry = retry
        self._longest_h = longest_h

    def report(self, report: CommitmentReport) -> None:
        """Send one report that was leased."""
        try:
            self._work(report)
        except LeaseLostError:
            log_event(logging.WARNING, "lease lost", peer=report.ae_title)

    def _work(self, report: CommitmentReport) -> None:
        peer = self._peers.get(report.ae_title)
        reason = self._send(report, peer) if peer is not None else NOT_CONFIGURED
        if reason is None:
            self._reports.forget(report)
            is_all = all(one.is_kept for one in report.verdicts)
            log_event(logging.INFO, "commitment reported", peer=report.ae_title, all=is_all)
        elif self._signals.is_stopping:
            self._reports.postpone(report, reason, 0.0)
        elif reason == NOT_CONFIGURED or time.time() - report.begun_s > self._longest_h * S_PER_H:
            self._reports.forget(report)
            log_event(logging.WARNING, "commitment given up", peer=report.ae_title, reason=reason)
        else:
            wait_s = delay_s(self._retry, report.attempts + 1, TryAgain(reason))
            self._reports.postpone(report, reason, wait_s)
            log_event(
                logging.INFO,
                "commitment postponed",
                peer=report.ae_title,
                reason=reason,
                wait_s=round(wait_s, 2),
            )

    def _send(self, report: CommitmentReport, peer: Peer) -> str | None:
        """Give why it did not arrive, None if it did."""
        try:
            return self._try_to_send(report, peer)
        except Exception as error:  # of whatever was answered
            log_event(logging.ERROR, "commitment failed", error, peer=report.ae_title)
            return failure_reason(error)

    def _try_to_send(self, report: CommitmentReport, peer: Peer) -> str | None:
        association = self._held.take(report.seq)
        if association is not None:
            association.dimse_timeout = self._timeout_s
            if _tell(association, report) is None:
                return None
        entity = AE(self._ae_title)
        entity.acse_timeout = entity.dimse_timeout = self._timeout_s
        entity.network_timeout = entity.connection_timeout = self._timeout_s
        entity.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = entity.associate(
            report.address,
            peer.port,
            ae_title=peer.ae_title,
            ext_neg=[role],
            evt_handlers=bounded(self._timeout_s),
        )
        if not association.is_established:
            close_rejected(association)
            return "peer-rejected" if association.is_rejected else "peer-unreachable"
        try:
            return _tell(association, report)
        finally:
            if association.is_established:
                association.release()


def _tell(association: Association, report: CommitmentReport) -> str | None:
    is_all = all(one.is_kept for one in report.verdicts)
    try:
        answer, _ = association.send_n_event_report(
            build_report(report),
            ALL_COMMITTED if is_all else SOME_FAILED,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
    except (ValueError, RuntimeError):  # no context was accepted, or the association is gone
        return "peer-refuses-class" if association.is_established else "peer-unreachable"
    status = answer.get("Status")
    if status is None:
        return "peer-timeout"
    return None if status == SUCCESS else f"peer-failure-{status:04x}"


def build_report(report: CommitmentReport) -> Dataset:
    """Build the Event Information (PS3.4, table J.3-2)."""
    ds = Dataset()
    ds.TransactionUID = report.transaction_uid
    kept, lost = [], []
    for one in report.verdicts:
        item = Dataset()
        item.ReferencedSOPClassUID = one.sop_class_uid
        item.ReferencedSOPInstanceUID = one.sop_instance_uid
        if one.is_kept:
            kept.append(item)
        else:
            item.FailureReason = NO_SUCH_INSTANCE
            lost.append(item)
    if kept:
        ds.ReferencedSOPSequence = kept
    if lost:
        ds.FailedSOPSequence = lost
    return ds
