"""The engine on ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import FP32, Manifest
from cxr.engines.ort_options import CPU
from service.engines.buckets import CPU_BATCH
from service.engines.cores import usable_cores
from service.engines.cuda import build_device_engine
from service.engines.onnxruntime_session import open_session
from service.engines.placement import ON_CPU
from service.engines.protocol import Engine, EngineOutput
from service.engines.selection import Choice
from service.settings import Settings


class OrtEngine:
    """Runs a graph of a bundle in one ONNX Runtime session on the CPU; any thread may use it.

    Inputs and outputs are not bound: ONNX Runtime takes an array where it lies.

    Args:
        session: The session.
        manifest: Names the graph's tensors.
        precision: Number format of that graph.
        concurrency: Runs at a time.
    """

    name = "onnxruntime"
    provider = CPU
    max_batch = CPU_BATCH
    runs_on_cores = True

    def __init__(
        self, session: Any, manifest: Manifest, precision: str = FP32, concurrency: int = 1
    ) -> None:
        self.precision = precision
        self.concurrency = concurrency
        self._session = session
        self._input = manifest.tensors.image
        self._outputs = [
            manifest.tensors.logits,
            manifest.tensors.probabilities,
            manifest.tensors.embedding,
        ]

    def run(self, images: NDArray[np.uint8]) -> EngineOutput:
        """Answer for model inputs, shape (N, 1, S, S), uint8."""
        return EngineOutput(*self._session.run(self._outputs, {self._input: images}))


def build_ort_engine(bundle: Bundle, settings: Settings, choice: Choice) -> Engine:
    """Make the session of a bundle on the device and in the precision chosen.

    Raises:
        StartupError: The provider cannot be had, or the graph is not what the manifest says.
    """
    if choice.device != "cpu":
        return build_device_engine(bundle, settings, choice)
    session = open_session(bundle, choice.precision, ON_CPU)
    concurrency = settings.workers or usable_cores()
    return OrtEngine(session, bundle.manifest, choice.precision, concurrency)
