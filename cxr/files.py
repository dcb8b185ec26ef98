"""Files and directories: read safely, digested, and written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxr.errors import OutputError

CHUNK_BYTES = 1024 * 1024


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """Read a small file at once, without waiting for a pipe or a device.

    Raises:
        OSError: It is unreadable, irregular or larger than ``max_bytes``; ``strerror`` says which.
    """
    # Without O_NONBLOCK the opening of a pipe waits for somebody who writes.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _verify_kind(os.fstat(descriptor))
        content = bytearray()
        while chunk := os.read(descriptor, min(CHUNK_BYTES, max_bytes + 1 - len(content))):
            content += chunk
    finally:
        os.close(descriptor)
    if len(content) > max_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {max_bytes} bytes")
    return bytes(content)


def verify_regular_file(path: Path) -> None:
    """Raise OSError unless a path is a regular file."""
    _verify_kind(os.stat(path))


def _verify_kind(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of a file, lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_directory(path: Path, mark: str) -> Iterator[Path]:
    """Fill a temporary directory and rename it to ``path`` when all went well.

    A reader sees all or nothing, also after an interruption. An older directory that holds a file
    named ``mark`` is replaced.

    Raises:
        OutputError: Something else stands at ``path``, or nothing can be written there.
    """
    path = path.absolute()
    verify_replaceable(path, mark)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise OutputError(f"Nothing can be written to {path}: {error.strerror}.") from None
    try:
        yield staging
        staging.chmod(0o755)  # mkdtemp makes it private; a bundle is for the service's user too
        verify_replaceable(path, mark)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
            path.rename(old / path.name)
            staging.rename(path)
            shutil.rmtree(old)
        else:
            staging.rename(path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def verify_replaceable(path: Path, mark: str) -> None:
    """Raise OutputError early if :func:`new_directory` may not write here."""
    if path.is_dir() and ((path / mark).is_file() or not any(path.iterdir())):
        return
    if path.exists() or path.is_symlink():
        raise OutputError(
            f"{path} exists and is not an older output of this command (it has no {mark}); "
            "it was left unchanged. Choose another --out."
        )
