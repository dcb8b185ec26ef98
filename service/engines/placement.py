"""Execution providers of ONNX Runtime, and what their sessions are opened with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from cxr.engines.ort_options import CPU, CUDA, cuda_options
from service.errors import StartupError

TENSORRT = "TensorrtExecutionProvider"

ON_CUDA_DEVICE = frozenset({CUDA, TENSORRT})
"""Providers that run on a CUDA device."""

ProviderOptions: TypeAlias = dict[str, str]


@dataclass(frozen=True)
class Placement:
    """Where a session runs, and how.

    Attributes:
        provider: Provider that must be in force once the session is open.
        providers: Those to request, with their options, in order of preference.
        memory: Where inputs and outputs lie.
        graphs: Whether runs are captured as CUDA graphs and replayed.
        environment: Variables that NVIDIA's libraries read when they are loaded.
    """

    provider: str
    providers: tuple[tuple[str, ProviderOptions], ...]
    memory: Literal["cuda", "cpu"]
    device_id: int = 0
    graphs: bool = False
    environment: dict[str, str] = field(default_factory=dict)


ON_CPU = Placement(CPU, ((CPU, {}),), "cpu")


def place_on_cuda(device_id: int, *, graphs: bool) -> Placement:
    """Place a session on ONNX Runtime's CUDA provider."""
    options = cuda_options(device_id, graphs=graphs)
    return Placement(CUDA, ((CUDA, options),), "cuda", device_id, graphs)


def verify_device(
    device: Literal["cuda", "tensorrt"], compiled: Collection[str], *, has_device: bool
) -> None:
    """Verify that ONNX Runtime has been compiled for a device and that the machine has one.

    Raises:
        StartupError: One of them is missing.
    """
    provider, name = (TENSORRT, "TensorRT") if device == "tensorrt" else (CUDA, "CUDA")
    if provider not in compiled:
        reason = f"ONNX Runtime has no {name} support"
    elif not has_device:
        reason = "no CUDA device was found"
    else:
        return
    raise StartupError(f"CXR_PROVIDER={device}, but {reason}. Use auto or cpu here.")


def verify_provider(wanted: str, actual: Sequence[str]) -> None:
    """Verify that a session runs on the provider it was opened for; its first is in force.

    ONNX Runtime only logs a line when it falls back because CUDA's libraries cannot be loaded.

    Raises:
        StartupError: ONNX Runtime fell back to another.
    """
    if actual and actual[0] == wanted:
        return
    hint = "Check the CUDA and cuDNN libraries, or set CXR_PROVIDER=cpu."
    if wanted == TENSORRT:
        hint = "Check the TensorRT libraries, or set CXR_PROVIDER=cuda."
    got = actual[0] if actual else "nothing"
    raise StartupError(f"ONNX Runtime was asked for {wanted} and fell back to {got}. {hint}")
