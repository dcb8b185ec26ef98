"""Small files that may change at run time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from cxr.files import read_regular_file

POLL_S = 1.0
LARGEST_BYTES = 4 * 1024 * 1024


class WatchedFile:
    """Detects changes of a file or links in its path, as Kubernetes changes Secrets."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._looked_s = -POLL_S
        self._seen: object = None

    def read(self) -> bytes:
        """Read it; raise OSError if it is no regular file or exceeds :data:`LARGEST_BYTES`."""
        # Before reading, so that a concurrent write counts as a change next time.
        self._look()
        return read_regular_file(self._path, LARGEST_BYTES)

    def has_changed(self) -> bool:
        """Whether it changed since the last look; looks once a second."""
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
