"""TensorRT libraries and options."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path

from cxr.bundles.manifest import FP32, Manifest
from cxr.engines.ort_options import CUDA, cuda_options
from service.engines.placement import TENSORRT, Placement, ProviderOptions
from service.errors import StartupError

LIBRARIES = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")
"""Those that ONNX Runtime's provider is linked with, and the plugins of the first, in order."""

PACKAGE = "tensorrt_libs"
"""NVIDIA's Python package that contains them."""


def preload_tensorrt() -> None:
    """Load TensorRT from its package or by the loader; StartupError if not installed."""
    for name in LIBRARIES:
        if not _is_loaded(name):
            raise StartupError(
                f"CXR_PROVIDER=tensorrt, but {name} cannot be loaded. Install TensorRT 10 for the "
                "CUDA version in use (pip install 'tensorrt-cu13<11'), or set CXR_PROVIDER=cuda."
            )


def has_tensorrt() -> bool:
    """Load the libraries; return whether that succeeded."""
    return all(map(_is_loaded, LIBRARIES))


def _is_loaded(name: str) -> bool:
    for path in (*_in_package(name), name):
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return True
    return False


def _in_package(name: str) -> list[Path]:
    spec = find_spec(PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    paths = [Path(folder) / name for folder in folders or ()]
    return [path for path in paths if path.is_file()]


def place_on_tensorrt(
    device_id: int, precision: str, manifest: Manifest, max_batch: int, cache: Path | None
) -> Placement:
    """Place a session on TensorRT, with the nodes it leaves on CUDA.

    One profile spans all buckets: the provider runs only the first (microsoft/onnxruntime, pull
    request 31624). Without a cache, each start rebuilds engines.
    """
    name, size = manifest.tensors.image, manifest.preprocessing.size_px
    largest = f"{name}:{max_batch}x1x{size}x{size}"
    options: ProviderOptions = {
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
    return Placement(
        TENSORRT,
        ((TENSORRT, options), (CUDA, cuda_options(device_id, graphs=False))),
        "cuda",
        device_id,
        # TensorRT's provider has no option against TF32; its libraries heed this variable.
        environment={"NVIDIA_TF32_OVERRIDE": "0"} if precision == FP32 else {},
    )


def tensorrt_cache(root: str, bundle_sha256: str, precision: str) -> Path | None:
    """Return a bundle's engine cache folder, None without a root.

    TensorRT's provider names engines by graph structure, ignoring weights.
    """
    return Path(root) / f"{bundle_sha256}-{precision}" if root else None
