"""Which ONNX Runtime execution provider a model runs on, chosen openly."""

from __future__ import annotations

import ctypes

from service.errors import StartupError
from service.settings import Provider

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"


def has_cuda_device() -> bool:
    """Ask the CUDA driver whether there is a device. Loads nothing else of CUDA.

    ONNX Runtime's list of available providers says what it was compiled with, not what the
    machine has.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return (
        driver.cuInit(0) == 0
        and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
        and count.value > 0
    )


def choose_provider(wanted: Provider, compiled: list[str], has_device: bool) -> str:
    """Give the provider to ask ONNX Runtime for.

    Args:
        wanted: The operator's setting.
        compiled: Providers ONNX Runtime was compiled with.
        has_device: Whether the machine has a CUDA device.

    Raises:
        StartupError: CUDA was asked for and cannot be had.
    """
    if wanted == "cpu":
        return CPU
    if CUDA in compiled and has_device:
        return CUDA
    if wanted == "auto":
        return CPU
    reason = "no CUDA device was found" if CUDA in compiled else "ONNX Runtime has no CUDA support"
    raise StartupError(f"CXR_PROVIDER=cuda, but {reason}. Use auto or cpu here.")


def verify_provider(chosen: str, actual: list[str]) -> None:
    """Check that a session runs on the provider it was made for.

    ONNX Runtime falls back to the CPU with only a log line when CUDA's libraries cannot be
    loaded.

    Raises:
        StartupError: It fell back.
    """
    if not actual or actual[0] != chosen:
        got = actual[0] if actual else "nothing"
        raise StartupError(
            f"ONNX Runtime was asked for {chosen} and fell back to {got}. "
            "Check the CUDA and cuDNN libraries, or set CXR_PROVIDER=cpu."
        )
