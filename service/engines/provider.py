"""Which ONNX Runtime execution provider a model runs on, chosen openly."""

from __future__ import annotations

import ctypes

from cxr.engines.ort_options import CPU, CUDA
from service.errors import StartupError
from service.settings import Provider

TENSORRT = "TensorrtExecutionProvider"

ON_CUDA_DEVICE = frozenset({CUDA, TENSORRT})
"""Providers whose runs take place on a CUDA device."""


CUDA_HINT = "Check the CUDA and cuDNN libraries, or set CXR_PROVIDER=cpu."
HINTS = {TENSORRT: "Check TensorRT's libraries, or set CXR_PROVIDER=cuda."}


def count_cuda_devices() -> int:
    """Ask the CUDA driver how many devices there are. Loads nothing else of CUDA.

    ONNX Runtime's list of available providers says what it was compiled with, not what the
    machine has.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def has_cuda_device() -> bool:
    """Ask whether there is a CUDA device."""
    return count_cuda_devices() > 0


def choose_provider(wanted: Provider, compiled: list[str], has_device: bool) -> str:
    """Give the provider to ask ONNX Runtime for.

    Args:
        wanted: The operator's setting.
        compiled: Providers ONNX Runtime was compiled with.
        has_device: Whether the machine has a CUDA device.

    Raises:
        StartupError: CUDA or TensorRT was asked for and cannot be had.
    """
    if wanted == "cpu":
        return CPU
    provider = TENSORRT if wanted == "tensorrt" else CUDA
    if provider in compiled and has_device:
        return provider
    if wanted == "auto":
        return CPU
    name = "TensorRT" if wanted == "tensorrt" else "CUDA"
    reason = f"ONNX Runtime has no {name} support"
    if provider in compiled:
        reason = "no CUDA device was found"
    raise StartupError(f"CXR_PROVIDER={wanted}, but {reason}. Use auto or cpu here.")


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
            f"{HINTS.get(chosen, CUDA_HINT)}"
        )
