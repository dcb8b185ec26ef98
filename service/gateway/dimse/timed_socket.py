"""Connections of associations on which nothing is waited for without end."""

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

MAX_PDU_BYTES = 262_144  # what peers are told; one that keeps to it sends no longer PDU
LONGEST_PDU_BYTES = max(MAX_PDU_BYTES, LONGEST_REQUEST_BYTES) + 64  # some count their headers, too


class TimedSocket(AssociationSocket):
    """Has a time for each PDU, in and out, and takes none that is too long.

    The library's own waits for the rest of a PDU, of any length, for ever; and where its thread
    waits so does who wants to abort the association.

    Args:
        plain: The library's, of which this takes the place.
        timeout_s: Time for each PDU.
    """

    def __init__(self, plain: AssociationSocket, timeout_s: float) -> None:
        vars(self).update(vars(plain))  # its own constructor would announce the connection again
        self._timeout_s = timeout_s

    @property
    def ready(self) -> bool:
        """Whether there is something to read; also where ``select`` knows no such number.

        Once the association is over there is not: the library would read on until the peer hangs
        up, instead of hanging up itself.
        """
        connection = self.socket
        if connection is None or not self._is_connected or self._is_over:
            return False
        if isinstance(connection, ssl.SSLSocket) and connection.pending():
            return True  # TLS has read more than it was asked for
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
        """Read so many bytes, fewer if the peer hangs up.

        Raises:
            OSError: There are too many of them, or they did not come in time.
        """
        if nr_bytes > LONGEST_PDU_BYTES:
            self.send(ABORT)
            raise OSError("The PDU is longer than any may be.")
        connection = cast("socket.socket", self.socket)
        until_s = time.monotonic() + self._timeout_s
        received = bytearray(nr_bytes)
        at = 0
        while at < nr_bytes:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("The PDU did not come in time.")
            connection.settimeout(left_s)
            count = connection.recv_into(memoryview(received)[at:])
            if not count:
                break
            at += count
        return received[:at]

    def send(self, bytestream: bytes) -> None:
        """Send bytes; the connection is closed if they are not taken in time."""
        connection = cast("socket.socket", self.socket)
        try:
            connection.settimeout(self._timeout_s)
            connection.sendall(bytestream)
        except Exception:  # as the library has it: a failure is an event
            self.event_queue.put("Evt17")


def shut_down(association: Association) -> None:
    """End what an association's thread waits for, so that it ends. Any thread."""
    if (plain := association.dul.socket) is not None and (connection := plain.socket) is not None:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
