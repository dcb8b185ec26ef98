"""Files that others put where we read: they may be anything."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

CHUNK_BYTES = 1024 * 1024


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """Read a small file, at once: a pipe is not waited for, nor a device read for ever.

    Symbolic links are followed, as in Kubernetes' volumes.

    Args:
        path: The file.
        max_bytes: Largest content accepted.

    Raises:
        OSError: It cannot be read, is no regular file, or is too large; ``strerror`` says which.
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
    """Raise before a library opens a file that would never end, or never begin.

    Raises:
        OSError: It is not there, or no regular file.
    """
    _verify_kind(os.stat(path))


def _verify_kind(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
