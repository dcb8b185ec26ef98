"""Digests of files, and directories that are complete or absent."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cxr.errors import OutputError


def sha256_of_file(path: Path) -> str:
    """Give the SHA-256 of a file's content, lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def new_directory(path: Path, mark: str) -> Iterator[Path]:
    """Fill a directory beside ``path`` and rename it there when all went well.

    A reader sees the whole directory or none of it, also after an interruption. What stood
    at ``path`` before is replaced only then, and only if it is an older one of the same kind.

    Args:
        path: Where the directory shall be.
        mark: Name of a file that every directory of this kind holds.

    Yields:
        An empty directory on the same file system.

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
    """Check that :func:`new_directory` may write here; for calling before long work.

    Raises:
        OutputError: Something else stands at ``path``.
    """
    if path.is_dir() and ((path / mark).is_file() or not any(path.iterdir())):
        return
    if path.exists() or path.is_symlink():
        raise OutputError(
            f"{path} exists and is not an older output of this command (it has no {mark}); "
            "it was left alone. Give another --out."
        )
