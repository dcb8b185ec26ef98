"""Delivery by C-STORE (PS3.4, Annex B)."""

from __future__ import annotations

import io

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom.association import Association

from service.gateway.deliver.stow_answer import DUPLICATE_INSTANCE, is_refusal
from service.gateway.destinations import Destination
from service.gateway.dimse.association import NoAssociationError, open_association
from service.gateway.work.loop import Failure, GiveUp, TryAgain


class DimseSender:
    """Sends objects to one DIMSE node. Any thread."""

    def __init__(self, destination: Destination, ae_title: str, timeout_s: float) -> None:
        self._destination = destination
        self._ae_title = ae_title
        self._timeout_s = timeout_s

    def close(self) -> None:
        """Do nothing: no association stays open."""

    def send(self, objects: list[bytes]) -> Failure | None:
        """See :meth:`Sender.send`."""
        sets = [dcmread(io.BytesIO(data)) for data in objects]
        to = self._destination
        try:
            with open_association(
                (to.host, to.port),
                to.ae_title,
                ae_title=self._ae_title,
                timeout_s=self._timeout_s,
                contexts={(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in sets},
            ) as association:
                failures = (_store(association, ds) for ds in sets)
                return next((one for one in failures if one is not None), None)
        except NoAssociationError as error:
            return TryAgain(f"archive-{error}")


def _store(association: Association, ds: Dataset) -> Failure | None:
    try:
        status = association.send_c_store(ds).get("Status")
    except (ValueError, RuntimeError):  # no context was accepted, or the association is gone
        refused = association.is_established
        return TryAgain("archive-refuses-class" if refused else "archive-unreachable")
    if status is None:
        return TryAgain("archive-timeout")
    if not isinstance(status, int):  # several values, or text for a number
        return TryAgain("archive-answer-not-understood")
    if status in (0x0000, DUPLICATE_INSTANCE) or 0xB000 <= status <= 0xBFFF:
        return None
    reason = f"archive-failure-{status:04x}"
    return GiveUp(reason, is_of_object=True) if is_refusal(status) else TryAgain(reason)
