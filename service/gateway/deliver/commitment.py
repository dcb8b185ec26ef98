"""Storage commitment results (PS3.4, J.3.3) as a task."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import build_role
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from service.gateway.destinations import Peer
from service.gateway.dimse.association import (
    IdleAssociations,
    NoAssociationError,
    open_association,
)
from service.gateway.store.commitment_reports import CommitmentReport, CommitmentReports
from service.gateway.work.loop import Failure, GiveUp, TryAgain
from service.telemetry.logs import log_event

ALL_COMMITTED, SOME_FAILED = 1, 2
NO_SUCH_INSTANCE = 0x0112
SUCCESS = 0x0000


class CommitmentTask:
    """Reports which instances are kept, on the requesting association or a new one."""

    name = "commitment"

    def __init__(
        self,
        reports: CommitmentReports,
        idle: IdleAssociations,
        ae_title: str,
        peers: Sequence[Peer],
        timeout_s: float,
    ) -> None:
        self._reports = reports
        self._idle = idle
        self._ae_title = ae_title
        self._peers = {peer.ae_title: peer for peer in peers if peer.port}
        self._timeout_s = timeout_s
        self.lease = reports.lease
        self.postpone = reports.postpone

    def receiver(self, report: CommitmentReport) -> str:
        """Return the peer."""
        return report.ae_title

    def describe(self, report: CommitmentReport) -> dict[str, Any]:
        """Return the peer."""
        return {"peer": report.ae_title}

    def do(self, report: CommitmentReport) -> Failure | None:
        """Send one report."""
        peer = self._peers.get(report.ae_title)
        if peer is None:
            return GiveUp("peer-not-configured")
        if (reason := self._send(report, peer)) is not None:
            return TryAgain(reason)
        self._reports.forget(report)
        log_event(
            logging.INFO, "commitment reported", peer=report.ae_title, all=report.are_all_kept
        )
        return None

    def dead_letter(self, report: CommitmentReport, reason: str) -> None:
        """Delete the report; the peer can ask again."""
        self._reports.forget(report)

    def count(self, report: CommitmentReport, outcome: str) -> None:
        """Count nothing."""

    def _send(self, report: CommitmentReport, peer: Peer) -> str | None:
        association = self._idle.take(report.seq)
        if association is not None:
            association.dimse_timeout = self._timeout_s
            if _notify(association, report) is None:
                return None
        try:
            with open_association(
                (report.address, peer.port),
                peer.ae_title,
                ae_title=self._ae_title,
                timeout_s=self._timeout_s,
                contexts=[(StorageCommitmentPushModel,)],
                roles=[build_role(StorageCommitmentPushModel, scp_role=True)],
            ) as association:
                return _notify(association, report)
        except NoAssociationError as error:
            return f"peer-{error}"


def _notify(association: Association, report: CommitmentReport) -> str | None:
    try:
        answer, _ = association.send_n_event_report(
            build_report(report),
            ALL_COMMITTED if report.are_all_kept else SOME_FAILED,
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
    for one in report.instances:
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
