"""Storage commitment, push model (PS3.4, Annex J): what is in the inbox is committed to.

The report goes over an association of its own to the peer's configured address. It is not kept
over a restart: who hears nothing asks again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at run time
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from service.gateway.destinations import Peer
from service.gateway.inbox import Inbox
from service.telemetry.logs import log_event

REQUEST_COMMITMENT = 1
ALL_COMMITTED, SOME_FAILED = 1, 2
NO_SUCH_INSTANCE = 0x0112
SUCCESS, PROCESSING_FAILURE, NO_SUCH_ACTION = 0x0000, 0x0110, 0x0123
MAX_INSTANCES = 10_000
TIMEOUT_S = 30


class Commitment:
    """Answers requests to commit.

    Args:
        inbox: Knows what was received.
        ae_title: Our own.
        peers: Where reports go.
    """

    def __init__(self, inbox: Inbox, ae_title: str, peers: Sequence[Peer]) -> None:
        self._inbox = inbox
        self._ae_title = ae_title
        self._peers = {peer.ae_title: peer for peer in peers if peer.port}

    def on_action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Take one N-ACTION; the report follows on a thread of its own."""
        if event.action_type != REQUEST_COMMITMENT:
            return NO_SUCH_ACTION, None
        calling = str(event.assoc.requestor.ae_title).strip()
        peer = self._peers.get(calling)
        if peer is None:
            return PROCESSING_FAILURE, None  # there is nowhere to report to
        try:
            report, kind = self._judge(event.action_information)
        except Exception as error:  # of whatever was sent
            log_event(logging.WARNING, "commitment refused", reason=type(error).__name__)
            return PROCESSING_FAILURE, None
        address = peer.host or str(event.assoc.requestor.address)
        threading.Thread(
            target=self._report, args=(peer, address, report, kind), daemon=True
        ).start()
        return SUCCESS, None

    def _judge(self, request: Dataset) -> tuple[Dataset, int]:
        wanted = list(request.ReferencedSOPSequence)
        if len(wanted) > MAX_INSTANCES:
            raise ValueError("too many instances")
        report = Dataset()
        report.TransactionUID = request.TransactionUID
        kept, lost = [], []
        for one in wanted:
            item = Dataset()
            item.ReferencedSOPClassUID = one.ReferencedSOPClassUID
            item.ReferencedSOPInstanceUID = one.ReferencedSOPInstanceUID
            if self._inbox.has(str(one.ReferencedSOPInstanceUID), str(one.ReferencedSOPClassUID)):
                kept.append(item)
            else:
                item.FailureReason = NO_SUCH_INSTANCE
                lost.append(item)
        if kept:
            report.ReferencedSOPSequence = kept
        if lost:
            report.FailedSOPSequence = lost
        return report, SOME_FAILED if lost else ALL_COMMITTED

    def _report(self, peer: Peer, address: str, report: Dataset, kind: int) -> None:
        entity = AE(self._ae_title)
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = TIMEOUT_S
        entity.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        try:
            association = entity.associate(
                address, peer.port, ae_title=peer.ae_title, ext_neg=[role]
            )
            if not association.is_established:
                log_event(logging.WARNING, "commitment not reported", reason="unreachable")
                return
            association.send_n_event_report(
                report, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
            association.release()
            log_event(logging.INFO, "commitment reported", all=kind == ALL_COMMITTED)
        except (ValueError, RuntimeError) as error:
            log_event(logging.WARNING, "commitment not reported", reason=type(error).__name__)
