"""What is fuzzed: families of inputs, each with its reader and what one input may cost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MIB = 1 << 20
SELF = Path("/proc/self")


@dataclass(frozen=True)
class Family:
    """A kind of inputs.

    Attributes:
        name: On the command line.
        make: Makes one input; the same for the same state of chance.
        read: Reads it, and says whether it could be read; anything else it raises is a finding.
        cpu_s: CPU seconds of the process that one input may cost.
        memory_bytes: By how much the peak memory of the process may grow over one input.
    """

    name: str
    make: Callable[[np.random.Generator], bytes]
    read: Callable[[bytes], bool]
    cpu_s: float
    memory_bytes: int


class BoundExceededError(AssertionError):
    """An input cost more than it may."""


def read_bounded(family: Family, data: bytes) -> bool:
    """Read one input and hold its costs against the family's bounds.

    Raises:
        BoundExceededError: It took too much CPU or memory.
    """
    (SELF / "clear_refs").write_text("5")  # VmHWM begins anew, see proc_pid_clear_refs(5)
    before_bytes, began_s = resident_bytes(), time.process_time()
    try:
        return family.read(data)
    finally:
        cpu_s = time.process_time() - began_s
        grown_bytes = _peak_bytes() - before_bytes
        told = f"{family.name}, {len(data)} bytes: {cpu_s:.2f} s of CPU, {grown_bytes >> 20} MiB"
        if cpu_s > family.cpu_s or grown_bytes > family.memory_bytes:
            raise BoundExceededError(told)


def resident_bytes() -> int:
    """Give the memory of this process."""
    return int((SELF / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak_bytes() -> int:
    for line in (SELF / "status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise OSError("the kernel does not tell the peak memory")


def about(rng: np.random.Generator, least: int, most: int) -> int:
    """Give a number between two, each order of magnitude as likely as another."""
    return int(np.exp(rng.uniform(np.log(least), np.log(most))))
