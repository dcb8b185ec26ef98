"""Opens a bundle's graph in ONNX Runtime and proves that it runs where it should."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime as ort

from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import Manifest
from cxr.engines.ort_options import CPU, configure_session
from service.engines.placement import Placement
from service.engines.provider import ON_CUDA_DEVICE, TENSORRT, verify_provider
from service.engines.tensorrt import preload_tensorrt
from service.errors import StartupError
from service.telemetry.logs import log_event

RECORD_NODES = "session.record_ep_graph_assignment_info"


def compiled_providers() -> list[str]:
    """List the providers that ONNX Runtime was compiled with."""
    return list(ort.get_available_providers())


def open_session(bundle: Bundle, precision: str, placement: Placement) -> Any:
    """Open the graph of a bundle in a precision.

    Raises:
        StartupError: The provider cannot be had, or the graph is not what the manifest says.
    """
    manifest = bundle.manifest
    if placement.provider in ON_CUDA_DEVICE:
        os.environ.update(placement.environment)
        # CUDA and cuDNN lie in Python packages, where the loader does not look by itself.
        ort.preload_dlls(directory="")
    if placement.provider == TENSORRT:
        preload_tensorrt()
    try:
        session = ort.InferenceSession(
            bundle.model_path_of(precision),
            _session_options(placement),
            providers=list(placement.providers),
            enable_fallback=0,
        )
    except Exception as error:  # ONNX Runtime's exceptions share no other base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise StartupError(f"ONNX Runtime cannot load model {manifest.name}: {reason}") from None
    verify_provider(placement.provider, session.get_providers())
    if placement.provider != CPU:
        verify_nodes(manifest.name, placement.provider, nodes_by_provider(session))
    _verify_graph(session, manifest)
    return session


def nodes_by_provider(session: Any) -> dict[str, tuple[str, ...]]:
    """Give the operators that each provider runs, of a session not on the CPU alone."""
    found: dict[str, tuple[str, ...]] = {}
    for part in session.get_provider_graph_assignment_info():
        operators = tuple(node.op_type for node in part.get_nodes())
        found[part.ep_name] = (*found.get(part.ep_name, ()), *operators)
    return found


def verify_nodes(model: str, provider: str, nodes: Mapping[str, Sequence[str]]) -> None:
    """Check that the provider in force also does the work, for nodes fall back one by one.

    Args:
        model: Its name.
        provider: The provider in force.
        nodes: Operators by provider.

    Raises:
        StartupError: It runs none of them.
    """
    if not nodes.get(provider):
        raise StartupError(f"{provider} is in force for model {model}, but runs none of it.")
    if left := sorted(set(nodes.get(CPU, ()))):
        log_event(logging.WARNING, "operators left to the CPU", model=model, operators=left)


def _session_options(placement: Placement) -> Any:
    options = configure_session(ort.SessionOptions())
    if placement.provider != CPU:
        options.add_session_config_entry(RECORD_NODES, "1")
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
