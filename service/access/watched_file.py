"""A small file that may change while the process runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from cxr.files import read_regular_file

POLL_S = 1.0
LARGEST_BYTES = 4 * 1024 * 1024


class WatchedFile:
    """Tells when a file has changed.

    The path is followed anew each time, so a symbolic link that is turned elsewhere counts: that
    is how Kubernetes changes a mounted Secret.

    Args:
        path: The file.
        clock: Seconds that never go back.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked_s = -POLL_S
        self._seen: object = None

    def read(self) -> bytes:
        """Give its bytes, and remember what they were.

        Raises:
            OSError: It cannot be read, is no regular file, or is larger than
                :data:`LARGEST_BYTES`.
        """
        # Looked at before it is read: what is written meanwhile is seen as a change next time.
        self._look()
        return read_regular_file(self._path, LARGEST_BYTES)

    def has_changed(self) -> bool:
        """Whether it has changed since it was last looked at, which is once a second."""
        if self._clock() - self._looked_s < POLL_S:
            return False
        before = self._seen
        return self._look() != before

    def _look(self) -> object:
        self._looked_s = self._clock()
        try:
            found = os.stat(self._path)
        except OSError:
            self._seen = "absent"
        else:
            self._seen = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        return self._seen
