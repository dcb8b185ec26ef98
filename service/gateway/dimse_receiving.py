"""Data sets of C-STORE that go to disk as they come, instead of into memory (PS3.7, 9.1.1)."""

from __future__ import annotations

import logging
import time
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dsutils import create_file_meta, encode_file_meta

from service.deadline import Clock
from service.errors import PayloadTooLargeError, ServingError
from service.gateway.header import PREAMBLE_BYTES, PREFIX
from service.gateway.spool import Spool, Staged
from service.gateway.write_behind import WriteBehind
from service.telemetry.logs import log_event

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.pdu_primitives import P_DATA

MAX_COMMAND_BYTES = 65_536  # a long one is a hundredth of it
MAX_OTHER_BYTES = 4 * 1024 * 1024  # 10,000 instances to commit to, each with all it may have
MOST_OF_LIMIT = 8  # an object is read on to its end, and dropped; to this times the largest
MOST_WAITING = 8  # messages; one at a time is what is negotiated (PS3.7, D.3.3.3)

UNHURRIED_S = 60.0
SLOWEST_BYTES_PER_S = 1024  # of a message, over all but its first UNHURRIED_S


class RefusedMessageError(ServingError):
    """A message, or its sender's way of sending, takes more than there is for it."""


class CommandSet(BytesIO):
    """A command set being received."""

    def write(self, data: Any) -> int:
        """Add a fragment.

        Raises:
            RefusedMessageError: There is too much of it.
        """
        if self.tell() + len(data) > MAX_COMMAND_BYTES:
            raise RefusedMessageError("a command set that does not end")
        return super().write(data)


class ReceivedDataSet(BytesIO):
    """A data set being received: of C-STORE a file in the spool, else bytes in memory.

    Args:
        message: Whose it is. Its command comes before the first byte of this.
        provider: Keeps track of what is open.
    """

    def __init__(self, message: DIMSEMessage, provider: SpoolingProvider) -> None:
        super().__init__()
        self._message = message
        self._provider = provider
        self._behind: WriteBehind | None = None
        self._size_bytes = 0

    def write(self, data: Any) -> int:
        """Add a fragment.

        Raises:
            RefusedMessageError: There is too much of it.
        """
        self._size_bytes += len(data)
        is_stored = isinstance(self._message, C_STORE_RQ)
        largest = (
            self._provider.max_instance_bytes * MOST_OF_LIMIT if is_stored else MAX_OTHER_BYTES
        )
        if self._size_bytes > largest:
            raise RefusedMessageError("a data set that does not end")
        if not is_stored:
            return super().write(data)
        if self._behind is None:
            self._behind = self._provider.open(self._message)
            self._provider.receiving.add(self)
        if self._size_bytes <= self._provider.max_instance_bytes:
            self._behind.write(data)
        return len(data)

    def finish(self) -> tuple[Staged, str]:
        """Give the Part 10 file, for the caller to end, and its object's digest.

        Raises:
            PayloadTooLargeError: It is too large.
            InsufficientStorageError: The disk was as full as it may be.
            OSError: The disk did not take it.
        """
        self._provider.receiving.discard(self)
        if self._behind is None:
            self._behind = self._provider.open(self._message)
        if self._size_bytes > self._provider.max_instance_bytes:
            self._behind.discard()
            raise PayloadTooLargeError("The object is too large.")
        return self._behind.finish()

    def discard(self) -> None:
        """Remove what came."""
        if self._behind is not None:
            self._behind.discard()


class SpoolingProvider(DIMSEServiceProvider):
    """Receives messages of one association, which it aborts over one that has no end.

    Args:
        assoc: The association.
        spool: Where data sets of C-STORE go.
        max_instance_bytes: Largest of them.
        clock: Gives seconds.
    """

    def __init__(
        self,
        assoc: Association,
        spool: Spool,
        max_instance_bytes: int,
        clock: Clock = time.monotonic,
    ) -> None:
        super().__init__(assoc)
        self._spool = spool
        self._clock = clock
        self._begun_s = 0.0
        self._received_bytes = 0
        self._is_over = False
        self.max_instance_bytes = max_instance_bytes
        self.receiving: set[ReceivedDataSet] = set()

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the next fragments of a message."""
        if self._is_over:
            return
        try:
            self._receive(primitive)
        except Exception as error:  # of whatever was sent, or of the disk
            log_event(logging.WARNING, "association aborted", reason=type(error).__name__)
            self._is_over = True
            self.dul.event_queue.put("Evt19")  # invalid PDU received (PS3.8, 9.2.3): abort

    def _receive(self, primitive: P_DATA) -> None:
        if self.message is None:
            if self.msg_queue.qsize() >= MOST_WAITING:
                raise RefusedMessageError("more requests than may wait for their answers")
            self.message = DIMSEMessage()
            self.message.encoded_command_set = CommandSet()
            self.message.data_set = ReceivedDataSet(self.message, self)
            self._begun_s, self._received_bytes = self._clock(), 0
        self._received_bytes += sum(len(data) for _, data in primitive.presentation_data_value_list)
        hurried_s = self._clock() - self._begun_s - UNHURRIED_S
        if self._received_bytes < SLOWEST_BYTES_PER_S * hurried_s:
            raise RefusedMessageError("a message that trickles")
        super().receive_primitive(primitive)

    def open(self, message: DIMSEMessage) -> WriteBehind:
        """Begin the file of a C-STORE's data set."""
        command = message.command_set
        (syntax,) = next(
            context.transfer_syntax
            for context in self.assoc.accepted_contexts
            if context.context_id == message.context_id
        )
        meta = create_file_meta(
            sop_class_uid=command.AffectedSOPClassUID,
            sop_instance_uid=command.AffectedSOPInstanceUID,
            transfer_syntax=syntax,
        )
        begin = bytes(PREAMBLE_BYTES) + PREFIX + encode_file_meta(meta)
        return WriteBehind(self._spool, begin, syntax.encode())

    def close(self) -> None:
        """Remove what was only half received, when the association is over."""
        for one in self.receiving.copy():
            one.discard()
        self.receiving.clear()
