"""CUDA driver calls: devices, pinned memory, memory in use.

Source: CUDA Driver API, Primary Context Management and Memory Management.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

PORTABLE = 1  # CU_MEMHOSTREGISTER_PORTABLE: pinned for every context of the process


def count_cuda_devices() -> int:
    """Count devices; ONNX Runtime only tells what it was compiled with."""
    cuda = _load_driver()
    count = ctypes.c_int(0)
    if cuda is None or cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def has_cuda_device() -> bool:
    """Return whether any device exists."""
    return count_cuda_devices() > 0


def pin(block: NDArray[np.uint8], device_id: int, driver: Any = None) -> bool:
    """Lock a contiguous array's pages while it lives; return whether that succeeded.

    ONNX Runtime's Python interface cannot, and unpinned memory is copied twice.
    """
    retained = _retain_context(device_id, driver)
    if retained is None:
        return False
    cuda, device, context = retained
    address = ctypes.c_void_p(block.ctypes.data)
    cuda.cuCtxPushCurrent_v2(context)
    failed = cuda.cuMemHostRegister_v2(address, ctypes.c_size_t(block.nbytes), PORTABLE)
    cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    if failed:
        cuda.cuDevicePrimaryCtxRelease_v2(device)
        return False
    # The end of the process unpins by itself, and the driver may be gone by then.
    finalize(block, _unpin, cuda, device, context, address).atexit = False
    return True


def _unpin(
    cuda: Any, device: ctypes.c_int, context: ctypes.c_void_p, address: ctypes.c_void_p
) -> None:
    cuda.cuCtxPushCurrent_v2(context)
    cuda.cuMemHostUnregister(address)
    cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    cuda.cuDevicePrimaryCtxRelease_v2(device)


class GpuMemory(NamedTuple):
    """A device's memory, used by all processes."""

    device_id: int
    used_bytes: int
    total_bytes: int


class GpuMemoryReader:
    """Reads device memory, numbered as in ONNX Runtime."""

    def __init__(self, device_id: int, driver: Any = None) -> None:
        self._device_id = device_id
        self._retained = _retain_context(device_id, driver)

    def read(self) -> GpuMemory | None:
        """Return the memory; None if the driver fails."""
        if self._retained is None:
            return None
        cuda, _, context = self._retained
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        if cuda.cuCtxPushCurrent_v2(context):
            return None
        failed = cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
        if failed:
            return None
        return GpuMemory(self._device_id, total.value - free.value, total.value)


def _load_driver() -> Any:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None


def _retain_context(
    device_id: int, driver: Any
) -> tuple[Any, ctypes.c_int, ctypes.c_void_p] | None:
    cuda = driver or _load_driver()
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if cuda is None or cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), device_id):
        return None
    # The primary context is the one that ONNX Runtime uses.
    if cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return None
    return cuda, device, context
