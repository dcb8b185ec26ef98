"""DIMSE messages (PS3.7, 6.3) limited in size, rate and number."""

from __future__ import annotations

import logging
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage

from service.deadline import Clock
from service.errors import ServingError
from service.telemetry.logs import log_event

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.pdu_primitives import P_DATA

MAX_COMMAND_BYTES = 65_536  # a hundred times a long one
MAX_DATA_SET_BYTES = 4 * 1024 * 1024  # 10,000 instances to commit to, with UIDs of full length
MOST_WAITING = 8  # messages, although one at a time is negotiated (PS3.7, D.3.3.3)

UNHURRIED_S = 60.0
SLOWEST_BYTES_PER_S = 1024  # of a message, after its first UNHURRIED_S


class RefusedMessageError(ServingError):
    """A message exceeds a limit."""


class BoundedBytes(BytesIO):
    """A buffer with a maximum size."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def write(self, data: Any) -> int:
        """Add a fragment; raise RefusedMessageError if full."""
        if self.tell() + len(data) > self._most:
            raise RefusedMessageError("A message is too long.")
        return super().write(data)


class BoundedProvider(DIMSEServiceProvider):
    """Aborts the association when a message exceeds a limit."""

    def __init__(self, assoc: Association, clock: Clock = time.monotonic) -> None:
        super().__init__(assoc)
        self._clock = clock
        self._begun_s = 0.0
        self._received_bytes = 0
        self._is_over = False

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Receive the next fragments."""
        if self._is_over:
            return
        try:
            self._receive(primitive)
        except Exception as error:  # depends on what was sent, or the disk fails
            log_event(logging.WARNING, "association aborted", reason=type(error).__name__)
            self._is_over = True
            self.dul.event_queue.put("Evt19")  # invalid PDU received (PS3.8, 9.2.3): abort

    def begin_data_set(self, message: DIMSEMessage) -> BytesIO:
        """Return the data set's buffer, before the command arrives."""
        return BoundedBytes(MAX_DATA_SET_BYTES)

    def _receive(self, primitive: P_DATA) -> None:
        if self.message is None:
            if self.msg_queue.qsize() >= MOST_WAITING:
                raise RefusedMessageError("Too many messages wait for their responses.")
            self.message = DIMSEMessage()
            self.message.encoded_command_set = BoundedBytes(MAX_COMMAND_BYTES)
            self.message.data_set = self.begin_data_set(self.message)
            self._begun_s, self._received_bytes = self._clock(), 0
        self._received_bytes += sum(len(data) for _, data in primitive.presentation_data_value_list)
        hurried_s = self._clock() - self._begun_s - UNHURRIED_S
        if self._received_bytes < SLOWEST_BYTES_PER_S * hurried_s:
            raise RefusedMessageError("A message arrived too slowly.")
        super().receive_primitive(primitive)
