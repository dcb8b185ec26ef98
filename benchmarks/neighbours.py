"""How much of the machine others used meanwhile.

A neighbour takes from a server, the load generator and the limit in shares that depend on how many
threads each has: ratios of rates bear little of it, CPU per image more.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.process import PROC, TICKS_PER_S, cpu_s_of

BUSY_FIELDS = (0, 1, 2, 5, 6, 7)
"""Of the first line of /proc/stat, see proc_stat(5): user, nice, system, irq, softirq, steal."""

QUIET_CORES = 0.1
"""Other work below this is what any system does by itself."""


def busy_s(proc: Path = PROC) -> float:
    """Give the seconds that all cores together were busy, or taken by another virtual machine."""
    fields = (proc / "stat").read_text().splitlines()[0].split()[1:]
    return sum(int(fields[i]) for i in BUSY_FIELDS if i < len(fields)) / TICKS_PER_S


class Neighbours:
    """Watches the machine from when it is made.

    Args:
        pid: Root of the process tree whose work is ours.
        proc: Where processes are listed.
    """

    def __init__(self, pid: int | None = None, proc: Path = PROC) -> None:
        self._pid = os.getpid() if pid is None else pid
        self._proc = proc
        self._others_s = self._others()
        self._started_s = time.monotonic()

    def cores(self) -> float:
        """Give the mean number of cores that others kept busy since then."""
        elapsed_s = time.monotonic() - self._started_s
        return max(0.0, self._others() - self._others_s) / max(elapsed_s, 1e-9)

    def _others(self) -> float:
        return busy_s(self._proc) - cpu_s_of(self._pid, self._proc)
