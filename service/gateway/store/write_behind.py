"""Files written, hashed and synced while bytes arrive."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from hashlib import sha256

from service.gateway.errors import InsufficientStorageError
from service.gateway.store.spool import Spool, Staged

MOST_WAITING = 32  # pieces; more make the sender wait for the disk


class WriteBehind:
    """Writes a file on its own thread; failures are raised at the end.

    ``begin`` is only written, ``salt`` only hashed.
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
        """Return the file, to be kept or discarded, and its hexadecimal digest."""
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
            with suppress(OSError):  # raised again when the file is kept
                self.staged.sync()
