"""Which engine, provider and precision a model gets, chosen openly and with a reason."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cxr.bundles.manifest import FP32
from service.engines.machine import Machine
from service.errors import StartupError
from service.settings import Settings

ONNX_RUNTIME: Literal["onnxruntime"] = "onnxruntime"
OPENVINO: Literal["openvino"] = "openvino"

Device: TypeAlias = Literal["cuda", "tensorrt", "cpu"]

COMPUTES = {
    (ONNX_RUNTIME, "cuda"): (FP32, "fp16"),
    (ONNX_RUNTIME, "tensorrt"): (FP32, "fp16"),
    (ONNX_RUNTIME, "cpu"): (FP32, "int8"),
    (OPENVINO, "cpu"): (FP32, "bf16", "int8"),
}
"""Precisions by engine and device."""

FASTEST = {"cuda": "fp16", "tensorrt": "fp16", "cpu": "int8"}
"""What auto takes where the bundle and the machine have it. bf16 on CPUs is not faster than int8
and cannot be measured where a bundle is built."""


@dataclass(frozen=True)
class Choice:
    """What a model runs on.

    Attributes:
        engine: ``onnxruntime`` or ``openvino``.
        device: ``cuda``, ``tensorrt`` (on a CUDA device, too) or ``cpu``.
        precision: Number format.
        reason: Why, in words, for the log.
    """

    engine: Literal["onnxruntime", "openvino"]
    device: Device
    precision: str
    reason: str


def choose(settings: Settings, machine: Machine, offered: Collection[str]) -> Choice:
    """Choose for one bundle.

    Args:
        settings: What the operator asks for.
        machine: What there is.
        offered: Precisions of the bundle.

    Raises:
        StartupError: What was asked for cannot be had.
    """
    device = _device(settings, machine)
    engine, why = _engine(settings, machine, device)
    precision, why_precision = _precision(settings, machine, engine, device, offered)
    return Choice(engine, device, precision, f"{why}; {why_precision}")


def _device(settings: Settings, machine: Machine) -> Device:
    device = _wanted_device(settings, machine)
    number, count = settings.device_id, machine.cuda_devices
    if device == "cpu" and number:
        raise StartupError(f"CXR_DEVICE_ID={number} names a CUDA device, but models run on a CPU.")
    if device != "cpu" and count and number >= count:
        there = "the only CUDA device is 0" if count == 1 else f"CUDA devices are 0 to {count - 1}"
        raise StartupError(f"CXR_DEVICE_ID={number}, but {there}.")
    return device


def _wanted_device(settings: Settings, machine: Machine) -> Device:
    if settings.provider in ("cuda", "tensorrt"):
        if settings.engine == OPENVINO:
            raise StartupError(
                f"CXR_ENGINE=openvino runs on CPUs, not with CXR_PROVIDER={settings.provider}."
            )
        return settings.provider  # if there is no device, the engine says so
    on_cpu = settings.provider == "cpu" or settings.engine == OPENVINO
    # Formats that only CPUs have say where to run, too.
    on_cpu = on_cpu or settings.precision in ("int8", "bf16")
    return "cuda" if machine.cuda_devices and not on_cpu else "cpu"


def _engine(
    settings: Settings, machine: Machine, device: Device
) -> tuple[Literal["onnxruntime", "openvino"], str]:
    if settings.engine == OPENVINO:
        if not machine.has_openvino:
            raise StartupError(
                "CXR_ENGINE=openvino, but OpenVINO is not installed: "
                "pip install 'cxr-inference[openvino]', or use auto or onnxruntime."
            )
        return OPENVINO, "openvino was asked for"
    if settings.engine == ONNX_RUNTIME:
        return ONNX_RUNTIME, "onnxruntime was asked for"
    if device == "tensorrt":
        return ONNX_RUNTIME, "TensorRT was asked for"
    if device == "cuda":
        return ONNX_RUNTIME, "there is a CUDA device"
    if machine.has_openvino:
        return OPENVINO, "on a CPU, and OpenVINO is installed"
    return ONNX_RUNTIME, "on a CPU, and OpenVINO is not installed"


def _precision(
    settings: Settings, machine: Machine, engine: str, device: Device, offered: Collection[str]
) -> tuple[str, str]:
    fast = {"int8": machine.has_int8, "bf16": machine.has_bf16}
    if settings.precision == "auto":
        best = FASTEST[device]
        if best not in offered:
            return FP32, f"the bundle has no {best}"
        if not fast.get(best, True):
            return FP32, f"the CPU has no instructions for {best}"
        return best, f"the bundle has {best} and {device} is fast in it"
    wanted = settings.precision
    able = COMPUTES[engine, device]
    if wanted not in able:
        raise StartupError(
            f"CXR_PRECISION={wanted}, but {engine} on {device} computes in "
            f"{', '.join(able)}.{_hint(wanted)}"
        )
    if wanted not in (FP32, *offered):
        raise StartupError(
            f"CXR_PRECISION={wanted}, but the bundle has only {', '.join((FP32, *offered))}. "
            "Export it with that precision, or use auto."
        )
    if not fast.get(wanted, True):
        raise StartupError(
            f"CXR_PRECISION={wanted}, but this CPU has no instructions for it. Use auto or fp32."
        )
    return wanted, f"{wanted} was asked for"


def _hint(wanted: str) -> str:
    hints = {
        "bf16": " bf16 needs OpenVINO: pip install 'cxr-inference[openvino]'.",
        "fp16": " fp16 needs a CUDA device.",
    }
    return hints.get(wanted, "")
