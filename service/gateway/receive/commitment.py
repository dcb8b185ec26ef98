"""Storage commitment requests, push model (PS3.4, Annex J)."""

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
from service.gateway.store.commitment_reports import CommitmentReports, CommittedInstance
from service.gateway.store.database import DatabaseError
from service.gateway.store.inbox import Inbox
from service.telemetry.logs import log_event

REQUEST_COMMITMENT = 1
SUCCESS, PROCESSING_FAILURE, NO_SUCH_ACTION = 0x0000, 0x0110, 0x0123
RESOURCE_LIMITATION = 0x0213
MAX_INSTANCES = 10_000
REPORT_AFTER_S = 1.0  # after the response, and a peer's release


class Commitment:
    """Answers once reports are durable. Any thread."""

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
        """Answer one N-ACTION; the report follows."""
        if event.action_type != REQUEST_COMMITMENT:
            return NO_SUCH_ACTION, None
        peer = self._peers.get(str(event.assoc.requestor.ae_title).strip())
        if peer is None:
            return PROCESSING_FAILURE, None  # a report would have no receiver
        address = peer.host or str(event.assoc.requestor.address)
        try:
            _verify_bounds(event)
            request = event.action_information
            instances = self._look_up(request)
            transaction_uid = str(request.TransactionUID)
            seq = self._reports.add(
                transaction_uid, peer.ae_title, address, instances, REPORT_AFTER_S
            )
        except DatabaseError as error:
            log_event(logging.ERROR, "commitment refused", error)
            return RESOURCE_LIMITATION, None
        except Exception as error:  # depends on what was sent
            log_event(logging.WARNING, "commitment refused", reason=type(error).__name__)
            return PROCESSING_FAILURE, None
        self._idle.add(seq, event.assoc)
        return SUCCESS, None

    def _look_up(self, request: Dataset) -> list[CommittedInstance]:
        wanted = list(request.ReferencedSOPSequence)
        if not 0 < len(wanted) <= MAX_INSTANCES:
            raise ValueError("no instances, or too many")
        named = [(str(i.ReferencedSOPClassUID), str(i.ReferencedSOPInstanceUID)) for i in wanted]
        # An instance that is named more than once is read once.
        kept = {one: self._inbox.keeps(one[1], one[0]) for one in set(named)}
        return [CommittedInstance(*one, kept[one]) for one in named]


def _verify_bounds(event: evt.Event) -> None:
    # Megabytes may hold a million items, each of which the library would parse.
    information = cast("N_ACTION", event.request).ActionInformation
    if information is None:
        return
    is_big = event.context.transfer_syntax == ExplicitVRBigEndian
    verify_structure(information.getvalue(), ">" if is_big else "<")
