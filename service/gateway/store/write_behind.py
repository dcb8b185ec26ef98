"""A file that is written and hashed while its next bytes still come, and synced at once."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from hashlib import sha256

from service.gateway.errors import InsufficientStorageError
from service.gateway.store.spool import Spool, Staged

MOST_WAITING = 32  # pieces; one more makes the sender wait for the disk


class WriteBehind:
    """Writes to the spool on a thread of its own. One caller at a time.

    What goes wrong is told at the end; until then what still comes is dropped.

    Args:
        spool: Where the bytes go.
        begin: What the file begins with; not part of the digest.
        salt: What the digest begins with.
    """

    def __init__(self, spool: Spool, begin: bytes, salt: bytes) -> None:
        self._spool = spool
        self._digest = sha256(salt)
        self._error: OSError | InsufficientStorageError | None = None
        self._whole = threading.Event()
        self._pieces: queue.Queue[bytes | None] = queue.Queue(MOST_WAITING)
        self.staged = spool.stage()
        self.staged.write(begin)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def write(self, piece: bytes) -> None:
        """Add bytes."""
        self._pieces.put(piece)

    def finish(self) -> tuple[Staged, str]:
        """Give the file, for the caller to end, and the digest in hexadecimal digits.

        Raises:
            InsufficientStorageError: The disk was as full as it may be.
            OSError: The disk did not take it.
        """
        self._pieces.put(None)
        self._whole.wait()
        if self._error is not None:
            self.staged.discard()
            raise self._error
        return self.staged, self._digest.hexdigest()

    def discard(self) -> None:
        """Remove the file."""
        self._pieces.put(None)
        self._whole.wait()
        self.staged.discard()

    def _run(self) -> None:
        while (piece := self._pieces.get()) is not None:
            if self._error is not None:
                continue
            try:
                self._spool.verify_room(len(piece))
                self.staged.write(piece)
            except (OSError, InsufficientStorageError) as error:
                self._error = error
            self._digest.update(piece)
        self._whole.set()
        if self._error is None:
            with suppress(OSError):  # told to whoever keeps the file
                self.staged.sync()
