"""Connections with time and size limits per PDU."""

from __future__ import annotations

import select
import socket
import ssl
import time
from contextlib import suppress
from typing import cast

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from service.gateway.dimse.association_request import ABORT, LONGEST_REQUEST_BYTES

MAX_PDU_BYTES = 262_144  # as negotiated with peers
LONGEST_PDU_BYTES = max(MAX_PDU_BYTES, LONGEST_REQUEST_BYTES) + 64  # some peers exclude headers


class TimedSocket(AssociationSocket):
    """A limited connection; pynetdicom's waits forever for PDUs of any length."""

    def __init__(self, plain: AssociationSocket, timeout_s: float) -> None:
        vars(self).update(vars(plain))  # its own constructor would announce the connection again
        self._timeout_s = timeout_s

    @property
    def ready(self) -> bool:
        """Whether bytes can be read; None once the association ends, lest the library wait."""
        connection = self.socket
        if connection is None or not self._is_connected or self._is_over:
            return False
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return True  # TLS has decrypted more than was read
        try:
            poll = select.poll()
            poll.register(connection, select.POLLIN)
            return bool(poll.poll(0))
        except (OSError, ValueError):
            self.event_queue.put("Evt17")  # the connection is closed
            return False

    @property
    def _is_over(self) -> bool:
        return self.assoc.dul.state_machine.current_state == "Sta13"  # PS3.8, table 9-5

    def recv(self, nr_bytes: int) -> bytearray:
        """Read this many bytes; raise OSError if too many or too late."""
        if nr_bytes > LONGEST_PDU_BYTES:
            self.send(ABORT)
            raise OSError("The PDU is too long.")
        connection = cast("socket.socket", self.socket)
        until_s = time.monotonic() + self._timeout_s
        received = bytearray(nr_bytes)
        at = 0
        while at < nr_bytes:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("The PDU did not arrive in time.")
            connection.settimeout(left_s)
            count = connection.recv_into(memoryview(received)[at:])
            if not count:
                break
            at += count
        return received[:at]

    def send(self, bytestream: bytes) -> None:
        """Send in time, or close the connection."""
        connection = cast("socket.socket", self.socket)
        try:
            connection.settimeout(self._timeout_s)
            connection.sendall(bytestream)
        except Exception:  # as in the library, a failure is an event
            self.event_queue.put("Evt17")


def shut_down(association: Association) -> None:
    """Shut down the connection, which ends the association's thread."""
    if (plain := association.dul.socket) is not None and (connection := plain.socket) is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
