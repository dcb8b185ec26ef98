"""The spool: objects, durable on disk."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Self

from service.errors import StartupError
from service.gateway.errors import InsufficientStorageError

LOCK_FILE = "gateway.lock"
RETRY_FULL_S = 60  # deliveries or the operator free the disk


class Staged:
    """A file being received; deleted at block end unless kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("xb")
        self._syncing = threading.Lock()
        self._failed: OSError | None = None
        self.size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._file.write(data)
        self.size_bytes += len(data)

    @contextmanager
    def reading(self) -> Iterator[BinaryIO]:
        """Open the bytes written so far."""
        if not self._file.closed:
            self._file.flush()
        with self.path.open("rb") as file:
            yield file

    def sync(self) -> None:
        """Make the bytes durable; repeatable. Any thread."""
        # A second fsync would succeed without having written the bytes.
        with self._syncing:
            if self._failed is not None:
                raise self._failed
            if self._file.closed:
                return
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                self._failed = error
                raise
            self._file.close()

    def discard(self) -> None:
        """Delete the file unless kept."""
        with self._syncing, suppress(OSError):  # the disk is full, and the bytes are not wanted
            self._file.close()
        self.path.unlink(missing_ok=True)


class Spool:
    """The objects' folder, shared by threads and gateways."""

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self._min_free_bytes = min_free_bytes
        self._lock: IO[str] | None = None
        self.folder = folder
        self._incoming = folder / "incoming"
        self._objects = folder / "objects"
        self._quarantine = folder / "quarantine"
        for one in (folder, self._incoming, self._objects):
            one.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sync_folder(folder)

    def lock(self) -> None:
        """Lock the folder; raise :class:`StartupError` if another process has."""
        self._lock = (self.folder / LOCK_FILE).open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartupError(
                "Another gateway uses this spool folder. Several share one only with "
                "CXR_GATEWAY_DATABASE_URL."
            ) from None

    def unlock(self) -> None:
        """Unlock, if locked."""
        if self._lock is not None:
            self._lock.close()

    def verify_room(self, size_bytes: int = 0) -> None:
        """Raise :class:`InsufficientStorageError` unless this many bytes fit."""
        if self.free_bytes - size_bytes < self._min_free_bytes:
            raise InsufficientStorageError(
                "The gateway has no room for the object and kept nothing of it. Send it later.",
                RETRY_FULL_S,
            )

    @property
    def free_bytes(self) -> int:
        """Free bytes of the disk."""
        return shutil.disk_usage(self.folder).free

    def stage(self) -> Staged:
        """Begin a file."""
        return Staged(self._incoming / secrets.token_hex(16))

    def keep(self, staged: Staged) -> str:
        """Make a file durable; return its name."""
        staged.sync()
        kept = staged.path.rename(self._objects / staged.path.name)
        _sync_folder(self._objects)
        return kept.name

    def write(self, data: bytes) -> str:
        """Store bytes durably; return their file's name."""
        with self.stage() as staged:
            staged.write(data)
            return self.keep(staged)

    def read(self, name: str) -> bytes:
        """Read a file."""
        return (self._objects / name).read_bytes()

    def opened(self, name: str) -> BinaryIO:
        """Open for reading."""
        return (self._objects / name).open("rb")

    def size_bytes(self, name: str) -> int:
        """Return a file's size."""
        return (self._objects / name).stat().st_size

    def has(self, name: str) -> bool:
        """Whether a file exists."""
        return (self._objects / name).is_file()

    def remove(self, name: str) -> None:
        """Delete a file, if any."""
        (self._objects / name).unlink(missing_ok=True)

    def quarantine(self, name: str) -> None:
        """Move a file out of deletion's reach."""
        self._quarantine.mkdir(mode=0o700, exist_ok=True)
        (self._objects / name).rename(self._quarantine / name)
        _sync_folder(self._quarantine)

    @property
    def quarantined(self) -> int:
        """Count quarantined files."""
        return len(list(self._quarantine.iterdir())) if self._quarantine.is_dir() else 0

    def names(self, older_than_s: float) -> list[str]:
        """Return older files' names, oldest first."""
        return [path.name for path in _older(self._objects, older_than_s)]

    def sweep_incoming(self, older_than_s: float) -> int:
        """Delete older half received files; return their number."""
        left = _older(self._incoming, older_than_s)
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)


def _older(folder: Path, age_s: float) -> list[Path]:
    before_s, found = time.time() - age_s, []
    for path in folder.iterdir():
        try:
            written_s = path.stat().st_mtime
        except FileNotFoundError:  # another thread removed it
            continue
        if written_s <= before_s:
            found.append((written_s, path))
    return [path for _, path in sorted(found)]


def _sync_folder(folder: Path) -> None:
    # A file's name is durable only once its folder is.
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
