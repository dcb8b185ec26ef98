"""Associations with limits on time and memory."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation

from service.gateway.dimse.messages import BoundedProvider
from service.gateway.dimse.timed_socket import TimedSocket


class NoAssociationError(Exception):
    """No association; the message is ``rejected`` or ``unreachable``."""


@contextmanager
def open_association(
    address: tuple[str, int],
    called_ae_title: str,
    *,
    ae_title: str,
    timeout_s: float,
    contexts: Iterable[tuple[str, ...]],
    roles: Collection[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Iterator[Association]:
    """Hold an association open; raise NoAssociationError.

    ``contexts`` are abstract syntaxes, each with a transfer syntax or the defaults.
    """
    entity = AE(ae_title)
    entity.acse_timeout = entity.dimse_timeout = timeout_s
    entity.network_timeout = entity.connection_timeout = timeout_s
    for context in contexts:
        entity.add_requested_context(*context)
    association = entity.associate(
        *address, ae_title=called_ae_title, ext_neg=list(roles), evt_handlers=bounded(timeout_s)
    )
    if not association.is_established:
        close_rejected(association)
        raise NoAssociationError("rejected" if association.is_rejected else "unreachable")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()


def close_rejected(association: Association) -> None:
    """Close the socket that pynetdicom leaves open."""
    if (connection := association.dul.socket) is not None:
        connection.close()


def bounded(timeout_s: float) -> list[Any]:
    """Return event handlers that limit an association."""
    return [(evt.EVT_CONN_OPEN, _put_bounds, [timeout_s])]


def _put_bounds(event: evt.Event, timeout_s: float) -> None:
    plain = event.assoc.dul.socket
    assert plain is not None
    event.assoc.dul.socket = TimedSocket(plain, timeout_s)
    event.assoc.dimse = BoundedProvider(event.assoc)


class IdleAssociations:
    """Accepted associations that are idle, for the gateway to use. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[int, Association] = {}

    def add(self, number: int, association: Association) -> None:
        """Add an association, until taken, used or released."""
        with self._lock:
            self._idle = {key: one for key, one in self._idle.items() if one.is_established}
            self._idle[number] = association
        association.bind(evt.EVT_PDU_RECV, self._on_received)

    def take(self, number: int) -> Association | None:
        """Return an association if still idle."""
        with self._lock:
            association = self._idle.pop(number, None)
        return association if association is not None and association.is_established else None

    def _on_received(self, event: evt.Event) -> None:
        with self._lock:
            self._idle = {key: one for key, one in self._idle.items() if one is not event.assoc}
