"""Cores, instruction sets, CUDA devices and packages."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from service.engines.cuda_driver import count_cuda_devices

CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""CPU quota of a container (Linux control groups, version 2): ``max 100000``, ``150000 100000``."""

CPU_INFO = Path("/proc/cpuinfo")

INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
"""One instruction multiplies and adds four pairs of bytes. Without one, U8S8 is slow, and on AVX2
its sums of two products saturate, which changes answers."""

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@dataclass(frozen=True)
class Machine:
    """What decides engine and precision.

    Attributes:
        packages: Installed engine packages.
        has_int8: The CPU is fast and exact in eight bits.
        has_bf16: The CPU multiplies bfloat16 in hardware.
    """

    cuda_devices: int
    packages: frozenset[str]
    has_int8: bool
    has_bf16: bool

    def is_fast_in(self, precision: str) -> bool:
        """Return whether the CPU has a precision's instructions."""
        return {"int8": self.has_int8, "bf16": self.has_bf16}.get(precision, True)


def look_at_machine(packages: Iterable[str] = ()) -> Machine:
    """Inspect the machine and installed packages."""
    flags = cpu_flags()
    return Machine(
        cuda_devices=count_cuda_devices(),
        packages=frozenset(name for name in packages if find_spec(name) is not None),
        has_int8=bool(INT8_FLAGS & flags),
        has_bf16=bool(BF16_FLAGS & flags),
    )


def cpu_flags(info: Path = CPU_INFO) -> frozenset[str]:
    """Return the CPU's instruction sets by Linux name."""
    try:
        lines = info.read_text().splitlines()
    except OSError:  # macOS: every CPU of Apple's has them
        return frozenset({"asimddp"} if platform.machine() == "arm64" else ())
    stated = (line.partition(":") for line in lines)
    return frozenset(
        flag
        for key, _, value in stated
        if key.strip() in ("flags", "Features")
        for flag in value.split()
    )


def usable_cores(quota_file: Path = CGROUP_QUOTA) -> int:
    """Count cores by affinity and container quota."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    try:
        quota, period = quota_file.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no control group, or no quota in it
        return cores
