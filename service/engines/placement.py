"""Where on a CUDA device a session runs, and how: decided before any library is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from cxr.bundles.manifest import FP32, Manifest
from cxr.engines.ort_options import CPU, CUDA, cuda_options
from service.engines.provider import TENSORRT

Memory: TypeAlias = Literal["cuda", "cpu"]

ProviderOptions: TypeAlias = dict[str, str]


@dataclass(frozen=True)
class Placement:
    """What a session is opened with.

    Attributes:
        provider: The execution provider that must come out of it.
        providers: What ONNX Runtime is asked for, first choice first, with options.
        memory: Where inputs and outputs of its runs lie.
        device_id: Number of the CUDA device.
        graphs: Whether runs are captured as CUDA graphs and replayed.
        environment: Variables that NVIDIA's libraries read when they are loaded.
    """

    provider: str
    providers: tuple[tuple[str, ProviderOptions], ...]
    memory: Memory
    device_id: int = 0
    graphs: bool = False
    environment: dict[str, str] = field(default_factory=dict)


ON_CPU = Placement(CPU, ((CPU, {}),), "cpu")


def place_on_cuda(device_id: int, *, graphs: bool) -> Placement:
    """Place a session on ONNX Runtime's CUDA provider."""
    options = cuda_options(device_id, graphs=graphs)
    return Placement(CUDA, ((CUDA, options),), "cuda", device_id, graphs)


def place_on_tensorrt(
    device_id: int, precision: str, manifest: Manifest, max_batch: int, cache: Path | None
) -> Placement:
    """Place a session on TensorRT, with CUDA for what TensorRT does not take.

    Args:
        device_id: Number of the CUDA device.
        precision: ``fp32`` or ``fp16``.
        manifest: Names and sizes of the graph's input.
        max_batch: Largest batch.
        cache: Folder of built engines, of this bundle alone; None builds them at each start.
    """
    options = tensorrt_options(device_id, precision, manifest, max_batch, cache)
    return Placement(
        TENSORRT,
        ((TENSORRT, options), (CUDA, cuda_options(device_id, graphs=False))),
        "cuda",
        device_id,
        # TensorRT's provider has no option against TF32; its libraries heed this variable.
        environment={"NVIDIA_TF32_OVERRIDE": "0"} if precision == FP32 else {},
    )


def tensorrt_options(
    device_id: int, precision: str, manifest: Manifest, max_batch: int, cache: Path | None
) -> ProviderOptions:
    """Give the TensorRT provider's options; arguments as of :func:`place_on_tensorrt`.

    One profile spans all buckets and is tuned for the largest: the provider builds several, but
    runs the first only (microsoft/onnxruntime, pull request 31624).
    """
    name, size = manifest.tensors.image, manifest.preprocessing.size_px
    largest = f"{name}:{max_batch}x1x{size}x{size}"
    options = {
        "device_id": str(device_id),
        "trt_fp16_enable": str(int(precision == "fp16")),
        "trt_profile_min_shapes": f"{name}:1x1x{size}x{size}",
        "trt_profile_opt_shapes": largest,
        "trt_profile_max_shapes": largest,
    }
    if cache is not None:
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(cache),
        }
    return options


def tensorrt_cache(root: str, bundle_sha256: str, precision: str) -> Path | None:
    """Give the folder of one bundle's engines; None if there is no root.

    TensorRT's provider names engines by the graph's structure, not by its weights: two bundles
    of one architecture must not share a folder.
    """
    return Path(root) / f"{bundle_sha256}-{precision}" if root else None
