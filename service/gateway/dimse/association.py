"""Associations that no peer can hold up, or fill, without end: ours with others, theirs with us."""

from __future__ import annotations

from typing import Any

from pynetdicom import evt

from service.gateway.dimse.messages import BoundedProvider
from service.gateway.dimse.timed_socket import TimedSocket


def bounded(timeout_s: float) -> list[Any]:
    """Give the event handlers that put bounds on an association as soon as it has a connection.

    Args:
        timeout_s: Time for each PDU.
    """
    return [(evt.EVT_CONN_OPEN, _put_bounds, [timeout_s])]


def _put_bounds(event: evt.Event, timeout_s: float) -> None:
    plain = event.assoc.dul.socket
    assert plain is not None
    event.assoc.dul.socket = TimedSocket(plain, timeout_s)
    event.assoc.dimse = BoundedProvider(event.assoc)
