"""C-STORE data sets (PS3.7, 9.1.1), written to disk on arrival."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dsutils import create_file_meta, encode_file_meta

from cxr.dicom.part10 import PREAMBLE_BYTES, PREFIX
from service.errors import PayloadTooLargeError
from service.gateway.dimse.messages import (
    MAX_DATA_SET_BYTES,
    BoundedBytes,
    BoundedProvider,
    RefusedMessageError,
)
from service.gateway.store.spool import Spool, Staged
from service.gateway.store.write_behind import WriteBehind

if TYPE_CHECKING:
    from pynetdicom.association import Association

MOST_OF_LARGEST = 8  # a too large object is read to its end, up to so many times the limit


class ReceivedDataSet(BoundedBytes):
    """An arriving data set: a file for C-STORE, else bytes in memory."""

    def __init__(self, message: DIMSEMessage, provider: SpoolingProvider) -> None:
        super().__init__(MAX_DATA_SET_BYTES)
        self._message = message
        self._provider = provider
        self._behind: WriteBehind | None = None
        self._size_bytes = 0

    def write(self, data: Any) -> int:
        """Add a fragment."""
        if not isinstance(self._message, C_STORE_RQ):
            return super().write(data)
        self._size_bytes += len(data)
        if self._size_bytes > MOST_OF_LARGEST * self._provider.max_instance_bytes:
            raise RefusedMessageError("An object is far longer than accepted.")
        if self._behind is None:
            self._behind = self._provider.open(self._message)
            self._provider.receiving.add(self)
        if self._size_bytes <= self._provider.max_instance_bytes:
            self._behind.write(data)
        return len(data)

    def finish(self) -> tuple[Staged, str]:
        """Return the Part 10 file, to be kept or discarded, and its digest."""
        self._provider.receiving.discard(self)
        if self._behind is None:
            self._behind = self._provider.open(self._message)
        if self._size_bytes > self._provider.max_instance_bytes:
            self._behind.discard()
            raise PayloadTooLargeError("The object is too large.")
        return self._behind.finish()

    def discard(self) -> None:
        """Delete it."""
        if self._behind is not None:
            self._behind.discard()


class SpoolingProvider(BoundedProvider):
    """Receives one association's messages."""

    def __init__(self, assoc: Association, spool: Spool, max_instance_bytes: int) -> None:
        super().__init__(assoc)
        self._spool = spool
        self.max_instance_bytes = max_instance_bytes
        self.receiving: set[ReceivedDataSet] = set()

    def begin_data_set(self, message: DIMSEMessage) -> ReceivedDataSet:
        """Return a data set's buffer."""
        return ReceivedDataSet(message, self)

    def open(self, message: DIMSEMessage) -> WriteBehind:
        """Begin a C-STORE's file."""
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
        """Delete half received data."""
        for one in self.receiving.copy():
            one.discard()
        self.receiving.clear()
