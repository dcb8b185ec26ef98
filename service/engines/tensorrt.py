"""TensorRT's libraries, which ONNX Runtime expects the loader to find."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path

from service.errors import StartupError

LIBRARIES = ("libnvinfer.so.10", "libnvinfer_plugin.so.10", "libnvonnxparser.so.10")
"""Those that ONNX Runtime's provider is linked with and the plugins of the first; in that order."""

PACKAGE = "tensorrt_libs"
"""Where NVIDIA's Python packages have them."""


def preload_tensorrt() -> None:
    """Load TensorRT from its Python package, or from where the loader looks.

    Raises:
        StartupError: It is not installed.
    """
    for name in LIBRARIES:
        if not _is_loaded(name):
            raise StartupError(
                f"CXR_PROVIDER=tensorrt, but {name} cannot be loaded. Install TensorRT 10 for the "
                "CUDA version in use (pip install 'tensorrt-cu13<11'), or set CXR_PROVIDER=cuda."
            )


def has_tensorrt() -> bool:
    """Ask whether its libraries can be loaded; loads them."""
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
