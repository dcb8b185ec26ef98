"""CPU time and memory of a process with all its descendants, from ``/proc``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
KIB = 1024

# Fields of /proc/<pid>/stat after the name in brackets, see proc_pid_stat(5).
_PARENT, _USER, _SYSTEM, _DEAD_USER, _DEAD_SYSTEM = 1, 11, 12, 13, 14


@dataclass(frozen=True)
class Usage:
    """What a process tree uses.

    Attributes:
        cpu_s: User and system time since it began, ended and awaited descendants included.
        rss_bytes: Resident memory; what processes share counts for each.
        pss_bytes: Resident memory; what processes share is divided among them.
        peak_rss_bytes: Sum of the highest resident memory of each process so far.
        processes: How many there are.
    """

    cpu_s: float
    rss_bytes: int
    pss_bytes: int
    peak_rss_bytes: int
    processes: int


def tree_of(pid: int, proc: Path = PROC) -> list[int]:
    """Give a process and its descendants that live."""
    children: dict[int, list[int]] = {}
    for path in proc.iterdir():
        if path.name.isdigit() and (fields := _stat(path)) is not None:
            children.setdefault(int(fields[_PARENT]), []).append(int(path.name))
    tree, waiting = [], [pid]
    while waiting:
        tree.append(waiting.pop())
        waiting += children.get(tree[-1], [])
    return tree


def cpu_s_of(pid: int, proc: Path = PROC) -> float:
    """Give the CPU seconds of a process tree: quick enough to frame a measurement."""
    ticks = 0
    for one in tree_of(pid, proc):
        if (fields := _stat(proc / str(one))) is not None:
            ticks += sum(int(fields[i]) for i in (_USER, _SYSTEM, _DEAD_USER, _DEAD_SYSTEM))
    return ticks / TICKS_PER_S


def usage_of(pid: int, proc: Path = PROC) -> Usage:
    """Give what a process tree uses. Processes that end meanwhile are left out."""
    tree = tree_of(pid, proc)
    memory = [_memory(proc / str(one)) for one in tree]
    return Usage(
        cpu_s=cpu_s_of(pid, proc),
        rss_bytes=sum(one.get("VmRSS", 0) for one in memory),
        pss_bytes=sum(one.get("Pss", 0) for one in memory),
        peak_rss_bytes=sum(one.get("VmHWM", 0) for one in memory),
        processes=len(tree),
    )


def _stat(path: Path) -> list[str] | None:
    try:
        text = (path / "stat").read_text()
    except OSError:  # it ended
        return None
    return text[text.rindex(")") + 2 :].split()  # a name may hold brackets and blanks


def _memory(path: Path) -> dict[str, int]:
    sizes = {}
    for name in ("status", "smaps_rollup"):
        try:
            lines = (path / name).read_text().splitlines()
        except OSError:  # it ended, or it is another user's
            continue
        for line in lines:
            key, _, value = line.partition(":")
            if key in ("VmRSS", "VmHWM", "Pss") and value.strip().endswith("kB"):
                sizes[key] = int(value.split()[0]) * KIB
    return sizes
