"""How many CPU cores this process may really use."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""CPU quota of a container (Linux control groups, version 2): ``max 100000``, ``150000 100000``."""


def usable_cores(quota_file: Path = CGROUP_QUOTA) -> int:
    """Count the cores by affinity and, in a container, by its CPU quota.

    The cores of the machine mislead in a container: 64 threads on a quota of two cores
    are throttled for most of each period.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        quota, period = quota_file.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no control group, or no quota in it
        return cores
