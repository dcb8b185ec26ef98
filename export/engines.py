"""Engines to compare and evaluate with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from typing_extensions import override

from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import EXPLAIN_OUTPUTS, FP32, Manifest, Tensors
from cxr.bundles.methods import Method
from cxr.engines.openvino_options import DEVICE, HINT, HINTS, hint_of, openvino_options
from cxr.engines.ort_options import CPU, CUDA, configure_session, cuda_options
from cxr.errors import BundleError
from cxr.explain.weighing import Heatmaps, read_heatmaps
from cxr.networks.served import ServedNetwork, served_network


class Outputs(NamedTuple):
    """Logits (N, K), probabilities (N, K) and embeddings (N, D), float32."""

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32]


class Runner(Protocol):
    """Computes a model's outputs."""

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Return the outputs for model inputs (N, 1, S, S)."""


class OrtRunner(Runner):
    """ONNX Runtime with the service's session options but for ``threads``, 0 for all cores."""

    def __init__(self, model: Path, manifest: Manifest, provider: str = "cpu", threads: int = 0):
        self._tensors = manifest.tensors
        self._session = open_session(model, provider, threads)

    @override
    def run(self, images: NDArray[np.uint8]) -> Outputs:
        names = [self._tensors.logits, self._tensors.probabilities, self._tensors.embedding]
        return Outputs(*self._session.run(names, {self._tensors.image: images}))


class OrtExplainer:
    """ONNX Runtime on a bundle's ``explain.onnx``, which lies beside the weights it reads."""

    def __init__(self, graph: Path, tensors: Tensors, provider: str = "cpu") -> None:
        self._image = tensors.image
        self._session = open_session(graph, provider)

    def explain(
        self, images: NDArray[np.uint8], targets: Sequence[int], methods: Sequence[Method]
    ) -> Heatmaps:
        """Explain model inputs (N, 1, S, S), uint8, by target class and method of each."""
        outputs = self._session.run(list(EXPLAIN_OUTPUTS), {self._image: images})
        return read_heatmaps(outputs, targets, methods)


def open_session(model: Path, provider: str = "cpu", threads: int = 0) -> Any:
    """Open a graph on ``cpu`` or ``cuda``, with all cores for 0; BundleError if impossible."""
    options = configure_session(onnxruntime.SessionOptions(), threads or os.cpu_count() or 1)
    wanted = CUDA if provider == "cuda" else CPU
    provider_options = cuda_options() if provider == "cuda" else {}
    if provider == "cuda":
        onnxruntime.preload_dlls(directory="")  # CUDA's libraries lie in Python packages
    try:
        session = onnxruntime.InferenceSession(
            str(model), options, providers=[(wanted, provider_options)]
        )
    except Exception:  # ONNX Runtime's exceptions have no public base but this
        raise BundleError(f"{model.name} cannot be loaded by ONNX Runtime.") from None
    if session.get_providers()[0] != wanted:
        raise BundleError(f"ONNX Runtime offers no {wanted} on this machine.")
    return session


class TorchRunner(Runner):
    """PyTorch with the same weights, eager, float32."""

    def __init__(self, served: ServedNetwork) -> None:
        self._served = served.eval()

    @override
    def run(self, images: NDArray[np.uint8]) -> Outputs:
        with torch.inference_mode():
            outputs = self._served(torch.tensor(images))
        return Outputs(*(output.numpy() for output in outputs))


class OpenVinoRunner(Runner):
    """OpenVINO with the service's options but for threads and streams."""

    def __init__(self, bundle: Bundle, precision: str) -> None:
        if find_spec("openvino") is None:
            raise BundleError("OpenVINO is not installed: pip install 'cxr-inference[openvino]'.")
        import openvino

        names = bundle.manifest.tensors
        self._image = names.image
        self._outputs = (names.logits, names.probabilities, names.embedding)
        path = bundle.model_path_of(precision)
        if precision not in HINTS:
            raise BundleError(f"OpenVINO runs {', '.join(HINTS)} here, not {precision}.")
        options = openvino_options(precision, threads=0, streams=1)
        compiled = openvino.Core().compile_model(path, DEVICE, options)
        if hint_of(compiled.get_property(HINT)) != HINTS[precision]:
            raise BundleError(f"OpenVINO does not compute in {precision} on this CPU.")
        self._request = compiled.create_infer_request()

    @override
    def run(self, images: NDArray[np.uint8]) -> Outputs:
        self._request.infer({self._image: images})
        # Copied: the request's own tensors are overwritten by its next run.
        return Outputs(*(self._request.get_tensor(n).data.copy() for n in self._outputs))


def build_runner(bundle: Bundle, engine: str, precision: str, provider: str) -> Runner:
    """Build ``onnxruntime``, ``openvino`` or ``pytorch``; BundleError if it cannot run here."""
    if engine == "openvino":
        return OpenVinoRunner(bundle, precision)
    if (engine, precision) == ("pytorch", FP32):
        return TorchRunner(served_network(bundle.weights_path, bundle.manifest))
    if engine == "pytorch" or precision == "bf16":
        raise BundleError(f"The engine {engine} does not support {precision} here.")
    return OrtRunner(bundle.model_path_of(precision), bundle.manifest, provider)
