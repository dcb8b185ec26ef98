"""``python -m service keys``: make a key, look at a file of keys."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from service.access.scopes import SCOPES
from service.commands.parsing import Commands

PREFIX = "cxr_"
"""So that scanners for leaked secrets, and people, know what they see."""

KEY_BYTES = 32
DAYS = re.compile(r"([1-9][0-9]{0,4})d")


def add_parser(commands: Commands) -> None:
    """Add ``keys new | show``."""
    keys = commands.add_parser("keys", help="make an API key, look at a file of keys")
    todo = keys.add_subparsers(dest="todo", required=True)
    new = todo.add_parser("new", help="make a key; it is shown once, here")
    new.add_argument("--name", required=True, type=_name, help="stands in the log")
    new.add_argument(
        "--scope", required=True, action="append", choices=sorted(SCOPES), help="repeat for more"
    )
    new.add_argument("--expires", type=_time, metavar="T", help="2027-01-31T00:00:00Z, or 90d")
    new.add_argument("--rate-per-s", type=float, metavar="N", help="calls a second")
    new.add_argument("--toml", action="store_true", help="the entry as TOML, not JSON")
    new.add_argument(
        "--file", type=Path, help="add the entry to this file of keys, made if it is not there"
    )
    show = todo.add_parser("show", help="say what a file of keys allows")
    show.add_argument("file", type=Path)


def run(args: argparse.Namespace) -> None:
    """Make a key, or show a file of keys."""
    from service.access.keys_writing import add_key, as_toml

    if args.todo == "show":
        _show(args.file)
        return
    key, entry = build_key(args.name, args.scope, args.expires, args.rate_per_s)
    if args.file is not None:
        add_key(args.file, entry, toml=args.toml or args.file.suffix == ".toml")
    print("The key, shown only now:", file=sys.stderr)
    print(key, flush=True)
    if args.file is not None:
        print(f"\nIts entry, with its hash, was added to {args.file}.", file=sys.stderr)
        return
    print('\nThe entry for "keys" in the file of keys, with its hash:', file=sys.stderr)
    print(as_toml(entry) if args.toml else json.dumps(entry))


def build_key(
    name: str, scopes: list[str], expires: datetime | None = None, rate_per_s: float | None = None
) -> tuple[str, dict[str, Any]]:
    """Make a random key and its entry for a file of keys."""
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    entry: dict[str, Any] = {
        "name": name,
        "sha256": hashlib.sha256(key.encode()).hexdigest(),
        "scopes": sorted(set(scopes)),
    }
    if expires is not None:
        entry["expires"] = expires.isoformat()
    if rate_per_s is not None:
        entry["rate_per_s"] = rate_per_s
    return key, entry


def _show(file: Path) -> None:
    from service.access.keys import parse_keys
    from service.access.watched_file import WatchedFile
    from service.errors import StartupError

    try:
        keys = parse_keys(WatchedFile(file).read())
    except OSError as error:
        raise StartupError(f"{file}: {error.strerror}.") from None
    except StartupError as error:
        raise StartupError(f"{file}: {error}.") from None
    for key in keys:
        until = "never expires" if key.expires is None else f"expires {key.expires.isoformat()}"
        state = until if key.is_valid() else f"EXPIRED {key.expires}"
        rate = "" if key.rate_per_s is None else f", {key.rate_per_s:g} calls a second"
        print(f"{key.name}: {' '.join(sorted(key.scopes))}, {state}{rate}")


def _name(text: str) -> str:
    from service.access.keys import NAME

    if not re.fullmatch(NAME, text):
        raise argparse.ArgumentTypeError("1 to 64 letters, digits, dots, - and _")
    return text


def _time(text: str) -> datetime:
    if days := DAYS.fullmatch(text):
        return (datetime.now(UTC) + timedelta(days=int(days[1]))).replace(microsecond=0)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("written 2027-01-31T00:00:00Z, or 90d") from None
    return given if given.tzinfo is not None else given.replace(tzinfo=UTC)
