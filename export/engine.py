"""Engines that export compares and evaluates with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from cxr.bundles.manifest import Manifest
from cxr.engines.ort_options import CPU, CUDA, configure_session, cuda_options
from cxr.errors import BundleError
from cxr.networks.served import ServedNetwork

FloatRows = NDArray[np.float32]


class EngineAnswer(NamedTuple):
    """Logits (N, K), probabilities (N, K) and embeddings (N, D) of N model inputs."""

    logits: FloatRows
    probabilities: FloatRows
    embedding: FloatRows


class ExportEngine(Protocol):
    """Answers for model inputs."""

    def run(self, images: NDArray[np.uint8]) -> EngineAnswer:
        """Answer for model inputs (N, 1, S, S)."""


class OrtEngine:
    """ONNX Runtime on the bundle's graph, with the session options of the service.

    They differ in the number of threads alone, which are there for speed.

    Args:
        model: The ONNX file.
        manifest: Names of the tensors.
        provider: ``cpu`` or ``cuda``.
        threads: Threads of one run; 0 for one per core.

    Raises:
        BundleError: The file is no graph, or the provider is not available.
    """

    def __init__(self, model: Path, manifest: Manifest, provider: str = "cpu", threads: int = 0):
        self._tensors = manifest.tensors
        options = configure_session(onnxruntime.SessionOptions(), threads or os.cpu_count() or 1)
        wanted = CUDA if provider == "cuda" else CPU
        provider_options = cuda_options() if provider == "cuda" else {}
        if provider == "cuda":
            onnxruntime.preload_dlls(directory="")  # CUDA's libraries lie in Python packages
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), options, providers=[(wanted, provider_options)]
            )
        except Exception:  # ONNX Runtime's exceptions have no public base but this
            raise BundleError(f"{model.name} cannot be loaded by ONNX Runtime.") from None
        if self._session.get_providers()[0] != wanted:
            raise BundleError(f"ONNX Runtime offers no {wanted} on this machine.")

    def run(self, images: NDArray[np.uint8]) -> EngineAnswer:
        """Answer for model inputs (N, 1, S, S)."""
        names = [self._tensors.logits, self._tensors.probabilities, self._tensors.embedding]
        return EngineAnswer(*self._session.run(names, {self._tensors.image: images}))


class TorchEngine:
    """The retained PyTorch path: the same weights, eager, float32."""

    def __init__(self, served: ServedNetwork) -> None:
        self._served = served.eval()

    def run(self, images: NDArray[np.uint8]) -> EngineAnswer:
        """Answer for model inputs (N, 1, S, S)."""
        with torch.inference_mode():
            answer = self._served(torch.tensor(images))
        return EngineAnswer(*(output.numpy() for output in answer))
