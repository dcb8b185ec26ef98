"""What the machine offers that decides on engine and precision."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from service.engines.provider import count_cuda_devices

CPU_INFO = Path("/proc/cpuinfo")

INT8_FLAGS = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"})
"""One instruction multiplies and adds four pairs of bytes. Without one, U8S8 is slow, and on AVX2
its sums of two products saturate, which changes answers."""

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@dataclass(frozen=True)
class Machine:
    """What there is.

    Attributes:
        cuda_devices: How many CUDA devices.
        has_openvino: OpenVINO is installed.
        has_int8: The CPU is fast, and exact, in eight bits.
        has_bf16: The CPU multiplies bfloat16 in hardware.
    """

    cuda_devices: int
    has_openvino: bool
    has_int8: bool
    has_bf16: bool


def look_at_machine() -> Machine:
    """Look at the machine this process runs on. Loads no engine."""
    flags = cpu_flags()
    return Machine(
        cuda_devices=count_cuda_devices(),
        has_openvino=find_spec("openvino") is not None,
        has_int8=bool(INT8_FLAGS & flags),
        has_bf16=bool(BF16_FLAGS & flags),
    )


def cpu_flags(info: Path = CPU_INFO) -> frozenset[str]:
    """List the CPU's instruction sets by Linux's names; those of Apple's CPUs are known."""
    try:
        lines = info.read_text().splitlines()
    except OSError:
        return frozenset({"asimddp"} if platform.machine() == "arm64" else ())
    stated = (line.partition(":") for line in lines)
    return frozenset(
        flag
        for key, _, value in stated
        if key.strip() in ("flags", "Features")
        for flag in value.split()
    )
