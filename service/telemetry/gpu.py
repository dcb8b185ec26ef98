"""The memory of the CUDA device that models run on."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class GpuMemory:
    """Memory of one device, whoever uses it.

    Attributes:
        device: Number of the CUDA device.
        used_bytes: In use, by this process and others.
        total_bytes: All there is.
    """

    device: int
    used_bytes: int
    total_bytes: int


class GpuMemoryReader:
    """Asks the CUDA driver how much memory a device has left.

    The driver is asked and no other library: it is there wherever a model runs on CUDA, and it
    counts devices as the models do (``CUDA_VISIBLE_DEVICES``, MIG).

    Args:
        device_id: Number of the CUDA device.
        driver: The CUDA driver's library; None loads it.

    Source: CUDA Driver API, sections Primary Context Management and Memory Management.
    """

    def __init__(self, device_id: int, driver: Any = None) -> None:
        self._device_id = device_id
        self._cuda = driver
        self._context: ctypes.c_void_p | None = None
        self._is_there = self._open()

    def _open(self) -> bool:
        try:
            self._cuda = self._cuda or ctypes.CDLL("libcuda.so.1")
        except OSError:
            return False
        device, context = ctypes.c_int(), ctypes.c_void_p()
        if self._cuda.cuInit(0) or self._cuda.cuDeviceGet(ctypes.byref(device), self._device_id):
            return False
        # The one the models use; held as long as the process, whose end lets it go.
        if self._cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
            return False
        self._context = context
        return True

    def read(self) -> GpuMemory | None:
        """Give the memory now; None if the driver does not say."""
        if not self._is_there:
            return None
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        if self._cuda.cuCtxPushCurrent_v2(self._context):
            return None
        failed = self._cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        self._cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
        if failed:
            return None
        return GpuMemory(self._device_id, total.value - free.value, total.value)
