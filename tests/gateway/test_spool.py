"""Bytes on disk before anybody relies on them, and a disk that does not take them."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from service.gateway.errors import InsufficientStorageError
from service.gateway.store.spool import Spool
from service.gateway.store.write_behind import WriteBehind


def fail(number: int) -> None:
    """Fail as a disk does."""
    raise OSError(5, "Input/output error")


def test_a_failed_sync_is_never_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel reports a lost page once; asked again it says that all is well."""
    spool = Spool(tmp_path, 0)
    behind = WriteBehind(spool, b"begin", b"")
    behind.write(b"bytes")
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        staged, _ = behind.finish()
        with pytest.raises(OSError, match="Input/output"):
            spool.keep(staged)
    with staged, pytest.raises(OSError, match="Input/output"):
        spool.keep(staged)
    assert not list(tmp_path.rglob("*/*"))


def test_the_file_is_what_was_written_and_hashed(tmp_path: Path) -> None:
    """What it begins with is not part of the digest, the salt is."""
    spool = Spool(tmp_path, 0)
    behind = WriteBehind(spool, b"begin", b"salt")
    for piece in (b"one", b"two"):
        behind.write(piece)
    staged, digest = behind.finish()
    assert digest == hashlib.sha256(b"saltonetwo").hexdigest()
    with staged.reading() as file:
        assert file.read() == b"beginonetwo"
    assert spool.read(spool.keep(staged)) == b"beginonetwo"


def test_a_disk_that_fills_meanwhile_is_told_at_the_end(tmp_path: Path) -> None:
    """The rest is dropped, nothing stays."""
    spool = Spool(tmp_path, 10**18)
    behind = WriteBehind(spool, b"begin", b"")
    for _ in range(100):
        behind.write(b"x" * 1000)
    with pytest.raises(InsufficientStorageError):
        behind.finish()
    assert not list(tmp_path.rglob("*/*"))


def test_discarding_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    """The sender went away."""
    behind = WriteBehind(Spool(tmp_path, 0), b"begin", b"")
    behind.write(b"half")
    behind.discard()
    time.sleep(0.05)
    assert not list(tmp_path.rglob("*/*"))
