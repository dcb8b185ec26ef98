"""ONNX Runtime's execution providers."""

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
    """Where and how a session runs.

    Attributes:
        provider: Must be in force once the session is open.
        providers: In order of preference, with options.
        memory: Of inputs and outputs.
        graphs: Whether CUDA graphs are captured and replayed.
        environment: Read when NVIDIA's libraries load.
    """

    provider: str
    providers: tuple[tuple[str, ProviderOptions], ...]
    memory: Literal["cuda", "cpu"]
    device_id: int = 0
    graphs: bool = False
    environment: dict[str, str] = field(default_factory=dict)


ON_CPU = Placement(CPU, ((CPU, {}),), "cpu")


def place_on_cuda(device_id: int, *, graphs: bool) -> Placement:
    """Place a session on the CUDA provider."""
    options = cuda_options(device_id, graphs=graphs)
    return Placement(CUDA, ((CUDA, options),), "cuda", device_id, graphs)


def verify_device(
    device: Literal["cuda", "tensorrt"], compiled: Collection[str], *, has_device: bool
) -> None:
    """Raise StartupError unless ONNX Runtime supports a device that exists."""
    provider, name = (TENSORRT, "TensorRT") if device == "tensorrt" else (CUDA, "CUDA")
    if provider not in compiled:
        reason = f"ONNX Runtime has no {name} support"
    elif not has_device:
        reason = "no CUDA device was found"
    else:
        return
    raise StartupError(f"CXR_PROVIDER={device}, but {reason}. Use auto or cpu here.")


def verify_provider(wanted: str, actual: Sequence[str]) -> None:
    """Raise StartupError if ONNX Runtime fell back, which it only logs."""
    if actual and actual[0] == wanted:
        return
    hint = "Check the CUDA and cuDNN libraries, or set CXR_PROVIDER=cpu."
    if wanted == TENSORRT:
        hint = "Check the TensorRT libraries, or set CXR_PROVIDER=cuda."
    got = actual[0] if actual else "nothing"
    raise StartupError(f"ONNX Runtime was asked for {wanted} and fell back to {got}. {hint}")
