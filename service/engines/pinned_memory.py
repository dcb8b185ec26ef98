"""Page-locked host memory, from which the device copies by itself."""

from __future__ import annotations

import ctypes
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

PORTABLE = 1  # CU_MEMHOSTREGISTER_PORTABLE: pinned for every context of the process


def pin(block: NDArray[np.uint8], device_id: int, driver: Any = None) -> bool:
    """Lock an array's pages for as long as the array lives.

    ONNX Runtime's Python interface has no pinned memory, so the CUDA driver is asked. Pinning makes
    copies quicker and changes nothing else: where it fails, copies go through the driver's own
    buffer.

    Args:
        block: Contiguous, the owner of its memory.
        device_id: Number of the CUDA device.
        driver: The CUDA driver's library; None loads it.

    Returns:
        Whether it is pinned.

    Source: CUDA Driver API, sections Primary Context Management and Memory Management.
    """
    try:
        cuda = driver or ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), device_id):
        return False
    # The primary context is the one that ONNX Runtime uses.
    if cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return False
    address = ctypes.c_void_p(block.ctypes.data)
    size = ctypes.c_size_t(block.nbytes)
    cuda.cuCtxPushCurrent_v2(context)
    failed = cuda.cuMemHostRegister_v2(address, size, PORTABLE)
    cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    if failed:
        cuda.cuDevicePrimaryCtxRelease_v2(device)
        return False
    # The process's end unpins by itself, and the driver may be gone by then.
    finalize(block, _unpin, cuda, device, context, address).atexit = False
    return True


def _unpin(
    cuda: Any, device: ctypes.c_int, context: ctypes.c_void_p, address: ctypes.c_void_p
) -> None:
    cuda.cuCtxPushCurrent_v2(context)
    cuda.cuMemHostUnregister(address)
    cuda.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))
    cuda.cuDevicePrimaryCtxRelease_v2(device)
