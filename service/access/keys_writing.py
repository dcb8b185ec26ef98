"""Add entries to key files."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

from service.access.keys import parse_keys
from service.errors import StartupError


def as_toml(entry: dict[str, Any]) -> str:
    """Format an entry as TOML."""
    # JSON strings, numbers and lists of strings are valid TOML.
    return "[[keys]]\n" + "\n".join(f"{name} = {json.dumps(v)}" for name, v in entry.items())


def add_key(path: Path, entry: dict[str, Any], *, toml: bool = False) -> None:
    """Add an entry to a key file, or create one with mode 0600.

    The file is replaced atomically; format, owner and mode are kept.

    Raises:
        StartupError: It is no key file, has a key of this name, or cannot be written.
    """
    target = path.resolve()
    try:
        before = _read(target)
        content = _with(before, entry, toml).encode()
        parse_keys(content)
        _replace(target, content)
    except StartupError as error:
        raise StartupError(f"{path}: {error}. Nothing was changed.") from None
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror}. Nothing was changed.") from None


def _read(path: Path) -> str:
    if not path.exists():
        return ""
    if not path.is_file():
        raise StartupError("it is not a regular file")
    content = path.read_bytes()
    parse_keys(content)
    return content.decode("utf-8-sig")


def _with(before: str, entry: dict[str, Any], toml: bool) -> str:
    if before.lstrip().startswith("{") or not (before or toml):
        known = json.loads(before)["keys"] if before else []
        return json.dumps({"keys": [*known, entry]}, indent=2) + "\n"
    return (before.rstrip() + "\n\n" + as_toml(entry)).lstrip() + "\n"


def _replace(path: Path, content: bytes) -> None:
    # mkstemp makes the file 0600: nobody else reads it before it has the old one's owner.
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            if path.exists():
                former = path.stat()
                os.fchown(number, former.st_uid, former.st_gid)
                os.fchmod(number, stat.S_IMODE(former.st_mode))
            file.flush()
            os.fsync(number)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
