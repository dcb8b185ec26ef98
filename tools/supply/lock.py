"""The lock file, and packages as they are installed."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "deploy" / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"

ROW = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;#]+)")


def normalised(name: str) -> str:
    """Give a package's name in the one form all its spellings have (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(path: Path = LOCK) -> dict[str, str]:
    """Give the version of each package of a lock file."""
    rows = (ROW.match(line) for line in path.read_text().splitlines())
    return {normalised(row[1]): row[2] for row in rows if row}
