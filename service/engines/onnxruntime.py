"""ONNX Runtime: sessions and the CPU engine."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import FP32, Manifest
from cxr.engines.ort_options import CPU, configure_session
from service.engines.buckets import CPU_BATCH
from service.engines.machine import usable_cores
from service.engines.placement import ON_CPU, ON_CUDA_DEVICE, TENSORRT, Placement, verify_provider
from service.engines.protocol import EngineOutput
from service.engines.selection import Choice
from service.engines.tensorrt import preload_tensorrt
from service.errors import StartupError
from service.settings import Settings
from service.telemetry.logs import log_event

RECORD_NODES = "session.record_ep_graph_assignment_info"


class OrtEngine:
    """Runs a graph on the CPU. Any thread.

    Nothing is bound: ONNX Runtime reads arrays in place.
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
        """Run model inputs (N, 1, S, S), uint8."""
        return EngineOutput(*self._session.run(self._outputs, {self._input: images}))


def build_ort_engine(bundle: Bundle, settings: Settings, choice: Choice) -> OrtEngine:
    """Open a graph on the CPU; raise StartupError."""
    session = open_session(bundle, choice.precision, ON_CPU)
    concurrency = settings.workers or usable_cores()
    return OrtEngine(session, bundle.manifest, choice.precision, concurrency)


def open_session(bundle: Bundle, precision: str, placement: Placement) -> Any:
    """Open a bundle's graph on its intended provider.

    Raises:
        StartupError: The provider or graph is unusable.
    """
    names = bundle.manifest.tensors
    outputs = (names.logits, names.probabilities, names.embedding)
    return open_graph(bundle.model_path_of(precision), bundle.manifest, outputs, placement)


def open_graph(
    path: Path,
    manifest: Manifest,
    outputs: Collection[str],
    placement: Placement,
    threads: int = 1,
    weights: Path | None = None,
) -> Any:
    """Open one of a bundle's graphs, which must have these outputs.

    ``weights`` is the file beside it that its external data are in. ONNX Runtime would map it, and
    whoever overwrote it would end the process: it is read instead.

    Raises:
        StartupError: The provider or graph is unusable.
    """
    on_cpu = placement.provider == CPU
    if placement.provider in ON_CUDA_DEVICE:
        os.environ.update(placement.environment)
        # CUDA and cuDNN lie in Python packages, where the loader does not look by itself.
        ort.preload_dlls(directory="")
    if placement.provider == TENSORRT:
        preload_tensorrt()
    options = configure_session(ort.SessionOptions(), threads)
    if not on_cpu:
        options.add_session_config_entry(RECORD_NODES, "1")
    try:
        if weights is not None:
            content = weights.read_bytes()  # copied while the session is opened
            options.add_external_initializers_from_files_in_memory(
                [weights.name], [content], [len(content)]
            )
        session = ort.InferenceSession(
            path,
            options,
            providers=list(placement.providers),
            enable_fallback=0,
        )
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StartupError(f"ONNX Runtime cannot load model {manifest.name}: {reason}") from None
    verify_provider(placement.provider, session.get_providers())
    if not on_cpu:
        verify_nodes(manifest.name, placement.provider, nodes_by_provider(session))
    _verify_graph(session, manifest, outputs)
    return session


def nodes_by_provider(session: Any) -> dict[str, tuple[str, ...]]:
    """Return each provider's operators."""
    found: dict[str, tuple[str, ...]] = {}
    for part in session.get_provider_graph_assignment_info():
        operators = tuple(node.op_type for node in part.get_nodes())
        found[part.ep_name] = (*found.get(part.ep_name, ()), *operators)
    return found


def verify_nodes(model: str, provider: str, nodes: Mapping[str, Sequence[str]]) -> None:
    """Raise StartupError if a provider runs no operator: they fall back one by one."""
    if not nodes.get(provider):
        raise StartupError(f"{provider} is in force for model {model} but runs none of it.")
    if left := sorted(set(nodes.get(CPU, ()))):
        log_event(logging.WARNING, "operators left to the CPU", model=model, operators=left)


def _verify_graph(session: Any, manifest: Manifest, outputs: Collection[str]) -> None:
    inputs = {tensor.name: tensor for tensor in session.get_inputs()}
    missing = set(outputs) - {tensor.name for tensor in session.get_outputs()}
    names = manifest.tensors
    if set(inputs) != {names.image} or missing:
        raise StartupError(
            f"The graph of model {manifest.name} does not have the manifest's tensors."
        )
    image, size = inputs[names.image], manifest.preprocessing.size_px
    if image.type != "tensor(uint8)" or list(image.shape[1:]) != [1, size, size]:
        raise StartupError(
            f"The graph of model {manifest.name} takes {image.type} {image.shape}, "
            f"not uint8 (N, 1, {size}, {size})."
        )
