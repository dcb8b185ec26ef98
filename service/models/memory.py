"""How much memory is left, and returning what is not needed."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
KIB = 1024


def free_memory_bytes(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> int | None:
    """Return the memory the process may still take: of its container's limit, else the machine's.

    None where the system does not tell.
    """
    known = [left for left in (_left_in(cgroup), _left_on(meminfo)) if left is not None]
    return min(known, default=None)


def _left_in(cgroup: Path) -> int | None:
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        if limit == "max":
            return None
        used = int((cgroup / "memory.current").read_text())
        lines = (line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        counts = {line[0]: int(line[1]) for line in lines if len(line) == 2}
        # Files that were read once are dropped as soon as memory is short.
        return int(limit) - used + counts.get("inactive_file", 0)
    except (OSError, ValueError):
        return None


def _left_on(meminfo: Path) -> int | None:
    try:
        for line in meminfo.read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * KIB
    except (OSError, ValueError, IndexError):
        pass
    return None


def release_memory() -> None:
    """Return freed memory to the system, where the C library keeps it (malloc_trim(3))."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:  # musl has none and keeps nothing
            trim(0)
