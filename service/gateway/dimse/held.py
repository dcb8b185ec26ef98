"""Associations whose peer may be waiting for something to come over them."""

from __future__ import annotations

import threading

from pynetdicom import evt
from pynetdicom.association import Association


class HeldAssociations:
    """Associations on which nothing came since they were held. Any thread.

    Over one that its peer uses meanwhile, or releases, nothing can be sent: the answers would be
    mixed up.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[int, Association] = {}

    def hold(self, number: int, association: Association) -> None:
        """Hold one until it is taken, or something comes over it."""
        with self._lock:
            gone = [key for key, one in self._held.items() if not one.is_established]
            for key in gone:
                del self._held[key]
            self._held[number] = association
        association.bind(evt.EVT_PDU_RECV, self._on_received)

    def take(self, number: int) -> Association | None:
        """Give one, if its peer still holds it and said nothing."""
        with self._lock:
            association = self._held.pop(number, None)
        return association if association is not None and association.is_established else None

    def _on_received(self, event: evt.Event) -> None:
        with self._lock:
            for key in [key for key, one in self._held.items() if one is event.assoc]:
                del self._held[key]
