"""The CUDA engine, on ONNX Runtime."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle
from service.engines.buckets import bucket_sizes
from service.engines.buffers import BoundSession, HostBuffers
from service.engines.cuda_driver import has_cuda_device, pin
from service.engines.onnxruntime import open_session
from service.engines.placement import Placement, place_on_cuda, verify_device
from service.engines.protocol import EngineOutput
from service.engines.selection import Choice
from service.engines.tensorrt import place_on_tensorrt, tensorrt_cache
from service.errors import StartupError
from service.settings import Settings
from service.telemetry.logs import log_event


class DeviceEngine:
    """Runs one batch at a time on its own thread, which owns the CUDA graphs.

    Any thread may call :meth:`run`.
    """

    name = "onnxruntime"
    concurrency = 1
    runs_on_cores = False

    def __init__(
        self, bundle: Bundle, precision: str, placement: Placement, max_batch: int
    ) -> None:
        self.provider = placement.provider
        self.precision = precision
        self.max_batch = max_batch
        self.graphs = placement.graphs
        size = bundle.manifest.preprocessing.size_px
        self._host = HostBuffers(max_batch, size)
        if placement.memory == "cuda" and not pin(self._host.block, placement.device_id):
            log_event(logging.WARNING, "memory for batches is not pinned", model=bundle.path.name)
        session = open_session(bundle, precision, placement)
        buckets = bucket_sizes(max_batch)
        self._bound = BoundSession(session, bundle.manifest, buckets, placement)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="device")
        for bucket in buckets:  # the first run of each captures its graph
            self.run(np.zeros((bucket, 1, size, size), dtype=np.uint8))

    def new_batch(self, size: int) -> NDArray[np.uint8]:
        """Return pinned memory for a batch, shape (size, 1, S, S), uint8."""
        return self._host.take(size)

    def run(self, images: NDArray[np.uint8]) -> EngineOutput:
        """Run model inputs (N, 1, S, S), uint8."""
        return EngineOutput(*self._thread.submit(self._bound.run, images).result())


def build_device_engine(bundle: Bundle, settings: Settings, choice: Choice) -> DeviceEngine:
    """Build a bundle's CUDA engine, every bucket warmed.

    Raises:
        StartupError: The device, CUDA graphs or model graph are unusable.
    """
    assert choice.device != "cpu"
    verify_device(choice.device, ort.get_available_providers(), has_device=has_cuda_device())
    if choice.device == "tensorrt":
        return _build(bundle, settings, choice, _place_on_tensorrt(bundle, settings, choice))
    if settings.cuda_graphs != "off":
        try:
            return _build(bundle, settings, choice, place_on_cuda(settings.device_id, graphs=True))
        except Exception as error:
            if settings.cuda_graphs == "on":
                raise
            log_event(logging.WARNING, "goes on without CUDA graphs", error, model=bundle.path.name)
    return _build(bundle, settings, choice, place_on_cuda(settings.device_id, graphs=False))


def _build(
    bundle: Bundle, settings: Settings, choice: Choice, placement: Placement
) -> DeviceEngine:
    try:
        return DeviceEngine(bundle, choice.precision, placement, settings.max_batch)
    except StartupError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        graphs = " with CUDA graphs (CXR_CUDA_GRAPHS=off runs without)" if placement.graphs else ""
        raise StartupError(
            f"Model {bundle.manifest.name} cannot run on {placement.provider}{graphs}: {reason}"
        ) from error


def _place_on_tensorrt(bundle: Bundle, settings: Settings, choice: Choice) -> Placement:
    if settings.cuda_graphs == "on":
        raise StartupError(
            "CXR_CUDA_GRAPHS=on works with CXR_PROVIDER=cuda only, not with tensorrt."
        )
    cache = tensorrt_cache(settings.tensorrt_cache_dir, bundle.sha256, choice.precision)
    try:
        if cache is not None:
            cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        raise StartupError(
            f"CXR_TENSORRT_CACHE_DIR={settings.tensorrt_cache_dir} is not writable."
        ) from None
    return place_on_tensorrt(
        settings.device_id, choice.precision, bundle.manifest, settings.max_batch, cache
    )
