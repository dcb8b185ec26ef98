"""Peak memory of a process tree since a moment, and when a server has nothing left to do."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.process import cpu_s_of, tree_of, usage_of

PROC = Path("/proc")
RESET_PEAK = "5"
"""Sets VmHWM to the present memory, see proc_pid_clear_refs(5)."""

SAMPLE_S = 0.2
WINDOW_S = 0.3
IDLE_CORES = 0.1


def reset_peak(pid: int) -> None:
    """Let the peak memory of a process tree count from now."""
    for one in tree_of(pid):
        with suppress(OSError):  # it ended
            (PROC / str(one) / "clear_refs").write_text(RESET_PEAK)


def address_space_of(pid: int) -> int:
    """Give the bytes of address space a process has taken, which limits are about."""
    return int((PROC / str(pid) / "statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def threads_of(pid: int) -> int:
    """Give how many threads a process has."""
    return len(list((PROC / str(pid) / "task").iterdir()))


class Cost:
    """What a process tree spends from entering this on. Sampled, so that a crash is survived.

    Args:
        pid: Its root.

    Attributes:
        cpu_s: CPU seconds, up to the last sample or :meth:`read`.
        memory_bytes: Growth of the peak memory.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self._reading = threading.Lock()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        reset_peak(pid)
        self._cpu_s, self._rss = cpu_s_of(pid), usage_of(pid).rss_bytes
        self.cpu_s, self.memory_bytes = 0.0, 0

    def __enter__(self) -> Self:
        self._sampler.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._sampler.join()
        self.read()

    def read(self) -> None:
        """Take a sample now."""
        with self._reading:
            usage = usage_of(self._pid)
            self.cpu_s = max(self.cpu_s, usage.cpu_s - self._cpu_s)
            self.memory_bytes = max(self.memory_bytes, usage.peak_rss_bytes - self._rss)

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self.read()


def wait_idle(pid: int, longest_s: float) -> bool:
    """Wait until a process tree computes next to nothing.

    Args:
        pid: Its root.
        longest_s: How long at most.

    Returns:
        Whether it became so.
    """
    end_s = time.monotonic() + longest_s
    before_s = cpu_s_of(pid)
    while time.monotonic() < end_s:
        time.sleep(WINDOW_S)
        now_s = cpu_s_of(pid)
        if now_s - before_s < IDLE_CORES * WINDOW_S:
            return True
        before_s = now_s
    return False
