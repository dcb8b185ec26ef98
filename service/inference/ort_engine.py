"""The engine on ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cxr.bundle import Bundle
from cxr.manifest import FP32, Manifest
from service.errors import StartupError
from service.inference.buckets import CPU_BATCH
from service.inference.cores import usable_cores
from service.inference.engine import EngineOutput
from service.inference.provider import (
    CPU,
    CUDA,
    choose_provider,
    has_cuda_device,
    verify_provider,
)
from service.inference.selection import Choice
from service.settings import Provider, Settings

PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    # TF32 would round the mantissa to 10 bits: not the fp32 that the manifest's parity is for.
    CUDA: {"use_tf32": "0"},
    CPU: {},
}

LOG_ERRORS_ONLY = 3  # ONNX Runtime's severities: below are remarks on graph optimisation


class OrtEngine:
    """Runs a graph of a bundle in one ONNX Runtime session, which any thread may use.

    Args:
        session: The session, on the provider that was asked for.
        provider: That provider.
        manifest: Names the graph's tensors.
        precision: Number format of that graph.
        concurrency: Runs at a time.
        max_batch: Images of a run.
    """

    name = "onnxruntime"

    def __init__(
        self,
        session: Any,
        provider: str,
        manifest: Manifest,
        precision: str = FP32,
        concurrency: int = 1,
        max_batch: int = CPU_BATCH,
    ) -> None:
        self.provider = provider
        self.precision = precision
        self.concurrency = concurrency
        self.max_batch = max_batch
        self._session = session
        self._input = manifest.tensors.image
        self._outputs = [
            manifest.tensors.logits,
            manifest.tensors.probabilities,
            manifest.tensors.embedding,
        ]

    @property
    def runs_on_cores(self) -> bool:
        """On the CPU each run takes one core."""
        return self.provider == CPU

    def run(self, images: NDArray[np.uint8]) -> EngineOutput:
        """Answer for model inputs, shape (N, 1, S, S), uint8."""
        return EngineOutput(*self._session.run(self._outputs, {self._input: images}))


def build_ort_engine(bundle: Bundle, settings: Settings, choice: Choice) -> OrtEngine:
    """Make the session of a bundle on the device and in the precision chosen.

    Raises:
        StartupError: The provider cannot be had, or the graph is not what the manifest says.
    """
    wanted: Provider = "cpu" if choice.device == "cpu" else "cuda"
    provider = choose_provider(wanted, ort.get_available_providers(), has_cuda_device())
    if provider == CUDA:
        # CUDA and cuDNN lie in Python packages, where the loader does not look by itself.
        ort.preload_dlls(directory="")
    manifest = bundle.manifest
    try:
        session = ort.InferenceSession(
            bundle.model_path_of(choice.precision),
            _session_options(),
            providers=[(provider, PROVIDER_OPTIONS[provider])],
            enable_fallback=0,
        )
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StartupError(f"ONNX Runtime cannot load model {manifest.name}: {reason}") from None
    verify_provider(provider, session.get_providers())
    _verify_graph(session, manifest)
    if provider == CUDA:  # a device runs one batch at a time
        return OrtEngine(session, provider, manifest, choice.precision, 1, settings.max_batch)
    concurrency = settings.workers or usable_cores()
    return OrtEngine(session, provider, manifest, choice.precision, concurrency, CPU_BATCH)


def _session_options() -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # One thread per run and a run per core: beside a busy neighbour, threads that share a run wait
    # for the slowest of them.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1  # the graphs are chains: nothing to run side by side
    options.log_severity_level = LOG_ERRORS_ONLY
    return options


def _verify_graph(session: Any, manifest: Manifest) -> None:
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    outputs = {tensor.name for tensor in session.get_outputs()}
    names = manifest.tensors
    missing = {names.logits, names.probabilities, names.embedding} - outputs
    if set(inputs) != {names.image} or missing:
        raise StartupError(f"The graph of model {manifest.name} has not the manifest's tensors.")
    image, size = inputs[names.image], manifest.preprocessing.size_px
    if image.type != "tensor(uint8)" or list(image.shape[1:]) != [1, size, size]:
        raise StartupError(
            f"The graph of model {manifest.name} takes {image.type} {image.shape}, "
            f"not uint8 (N, 1, {size}, {size})."
        )
