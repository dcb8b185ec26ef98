"""Storage commitment, push model (PS3.4, Annex J): what is kept, as it came, is committed to."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian
from pynetdicom import evt
from pynetdicom.dimse_primitives import N_ACTION

from cxr.dicom.structure import verify_structure
from service.gateway.destinations import Peer
from service.gateway.dimse.association import IdleAssociations
from service.gateway.store.commitment_reports import CommitmentReports, Verdict
from service.gateway.store.database import DatabaseError
from service.gateway.store.inbox import Inbox
from service.telemetry.logs import log_event

REQUEST_COMMITMENT = 1
SUCCESS, PROCESSING_FAILURE, NO_SUCH_ACTION = 0x0000, 0x0110, 0x0123
RESOURCE_LIMITATION = 0x0213
MAX_INSTANCES = 10_000
REPORT_AFTER_S = 1.0  # the answer goes first; who wants the report elsewhere has hung up by then


class Commitment:
    """Answers requests to commit. The reports are durable before a request hears of success.

    Args:
        inbox: Knows what is kept.
        reports: Take what is to be told.
        idle: Takes the associations of the requests.
        peers: Where reports go.
    """

    def __init__(
        self,
        inbox: Inbox,
        reports: CommitmentReports,
        idle: IdleAssociations,
        peers: Sequence[Peer],
    ) -> None:
        self._inbox = inbox
        self._reports = reports
        self._idle = idle
        self._peers = {peer.ae_title: peer for peer in peers if peer.port}

    def on_action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Take one N-ACTION; the report follows."""
        if event.action_type != REQUEST_COMMITMENT:
            return NO_SUCH_ACTION, None
        peer = self._peers.get(str(event.assoc.requestor.ae_title).strip())
        if peer is None:
            return PROCESSING_FAILURE, None  # there is nowhere to report to
        address = peer.host or str(event.assoc.requestor.address)
        try:
            _verify_bounds(event)
            request = event.action_information
            verdicts = self._judge(request)
            transaction_uid = str(request.TransactionUID)
            seq = self._reports.add(
                transaction_uid, peer.ae_title, address, verdicts, REPORT_AFTER_S
            )
        except DatabaseError as error:
            log_event(logging.ERROR, "commitment refused", error)
            return RESOURCE_LIMITATION, None
        except Exception as error:  # of whatever was sent
            log_event(logging.WARNING, "commitment refused", reason=type(error).__name__)
            return PROCESSING_FAILURE, None
        self._idle.add(seq, event.assoc)
        return SUCCESS, None

    def _judge(self, request: Dataset) -> list[Verdict]:
        wanted = list(request.ReferencedSOPSequence)
        if not 0 < len(wanted) <= MAX_INSTANCES:
            raise ValueError("no instances, or too many")
        named = [(str(i.ReferencedSOPClassUID), str(i.ReferencedSOPInstanceUID)) for i in wanted]
        # Each is read once, however often it is named.
        kept = {one: self._inbox.keeps(one[1], one[0]) for one in set(named)}
        return [Verdict(*one, kept[one]) for one in named]


def _verify_bounds(event: evt.Event) -> None:
    """Refuse what holds more than is parsed: megabytes may hold a million items."""
    information = cast("N_ACTION", event.request).ActionInformation
    if information is None:
        return
    is_big = event.context.transfer_syntax == ExplicitVRBigEndian
    verify_structure(information.getvalue(), ">" if is_big else "<")
