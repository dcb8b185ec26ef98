"""Results to an archive by C-STORE (PS3.4, Annex B)."""

from __future__ import annotations

import io

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association

from service.gateway.deliver import stow_answer
from service.gateway.deliver.stow import is_refusal
from service.gateway.destinations import Destination
from service.gateway.dimse.association import bounded
from service.gateway.work.analysis import GiveUp, TryAgain


class DimseSender:
    """Sends objects to one DIMSE node, over one association for each call. Any thread.

    Args:
        destination: Where it is.
        ae_title: Our own.
        timeout_s: Longest wait for each answer.
    """

    def __init__(self, destination: Destination, ae_title: str, timeout_s: float) -> None:
        self._destination = destination
        self._ae_title = ae_title
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Nothing is kept open."""

    def send(self, study_instance_uid: str, objects: list[bytes]) -> TryAgain | GiveUp | None:
        """Send Part 10 files; None once the archive has confirmed each of them."""
        sets = [dcmread(io.BytesIO(data)) for data in objects]
        entity = AE(self._ae_title)
        entity.acse_timeout = entity.dimse_timeout = self._timeout_s
        entity.network_timeout = entity.connection_timeout = self._timeout_s
        for wanted in {(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in sets}:
            entity.add_requested_context(*wanted)
        to = self._destination
        association = entity.associate(
            to.host, to.port, ae_title=to.ae_title, evt_handlers=bounded(self._timeout_s)
        )
        if not association.is_established:
            close_rejected(association)
            return TryAgain(
                "archive-rejected" if association.is_rejected else "archive-unreachable"
            )
        try:
            for ds in sets:
                if (answer := _store(association, ds)) is not None:
                    return answer
        finally:
            if association.is_established:
                association.release()
        return None


def close_rejected(association: Association) -> None:
    """Close the socket of an association that was not had; the library leaves it open."""
    if (connection := association.dul.socket) is not None:
        connection.close()


def _store(association: Association, ds: Dataset) -> TryAgain | GiveUp | None:
    try:
        status = association.send_c_store(ds).get("Status")
    except (ValueError, RuntimeError):  # no context was accepted, or the association is gone
        refused = association.is_established
        return TryAgain("archive-refuses-class" if refused else "archive-unreachable")
    if status is None:
        return TryAgain("archive-timeout")
    if not isinstance(status, int):  # several values, or text for a number
        return TryAgain("archive-answer-not-understood")
    if status in (0x0000, stow_answer.DUPLICATE_INSTANCE) or 0xB000 <= status <= 0xBFFF:
        return None
    reason = f"archive-failure-{status:04x}"
    return GiveUp(reason, is_of_object=True) if is_refusal(status) else TryAgain(reason)
