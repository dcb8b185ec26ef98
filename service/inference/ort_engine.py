"""The engine on ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cxr.bundle import Bundle
from cxr.manifest import Manifest
from service.errors import StartupError
from service.inference.engine import EngineOutput
from service.inference.provider import (
    CPU,
    CUDA,
    choose_provider,
    has_cuda_device,
    verify_provider,
)
from service.settings import Settings

PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    # TF32 would round the mantissa to 10 bits: not the fp32 that the manifest's parity is for.
    CUDA: {"use_tf32": "0"},
    CPU: {},
}

LOG_ERRORS_ONLY = 3  # ONNX Runtime's severities: below are remarks on graph optimisation


class OrtEngine:
    """Runs ``model.onnx`` of a bundle in one ONNX Runtime session.

    Args:
        session: The session, on the provider that was asked for.
        provider: That provider.
        manifest: Names the graph's tensors.
    """

    name = "onnxruntime"
    precision = "fp32"  # of model.onnx, the only graph in a bundle

    def __init__(self, session: Any, provider: str, manifest: Manifest) -> None:
        self.provider = provider
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


def build_ort_engine(bundle: Bundle, settings: Settings) -> OrtEngine:
    """Make the session of a bundle on the provider the settings ask for.

    Raises:
        StartupError: The provider cannot be had, or the graph is not what the manifest says.
    """
    has_device = settings.provider != "cpu" and has_cuda_device()
    provider = choose_provider(settings.provider, ort.get_available_providers(), has_device)
    if provider == CUDA:
        # CUDA and cuDNN lie in Python packages, where the loader does not look by itself.
        ort.preload_dlls(directory="")
    manifest = bundle.manifest
    try:
        session = ort.InferenceSession(
            bundle.model_path,
            _session_options(settings),
            providers=[(provider, PROVIDER_OPTIONS[provider])],
            enable_fallback=0,
        )
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StartupError(f"ONNX Runtime cannot load model {manifest.name}: {reason}") from None
    verify_provider(provider, session.get_providers())
    _verify_graph(session, manifest)
    return OrtEngine(session, provider, manifest)


def _session_options(settings: Settings) -> Any:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Several runs go on side by side, each on a core: shared cores cost more than they give.
    options.intra_op_num_threads = settings.intra_op_threads or 1
    options.inter_op_num_threads = 1  # the graphs are chains: nothing to run side by side
    options.log_severity_level = LOG_ERRORS_ONLY
    for pool in ("intra_op", "inter_op"):
        # Threads that spin while they wait steal the cores the decoders need.
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
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
