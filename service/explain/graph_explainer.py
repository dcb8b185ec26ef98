"""The explainer on ONNX Runtime: a bundle's graph has the gradients in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import EXPLAIN_NAME, EXPLAIN_OUTPUTS, FP32, Manifest
from cxr.bundles.methods import Method
from cxr.explain.weighing import read_heatmaps
from service.engines.memory import return_freed_memory
from service.engines.onnxruntime import open_graph
from service.engines.placement import ON_CPU, ON_CUDA_DEVICE, place_on_cuda
from service.errors import StartupError
from service.explain.explaining import FP32_TOLERANCE, Explanation
from service.scheduling.priority import lower_priority
from service.settings import Settings


class GraphExplainer:
    """Explains by Grad-CAM and relatives on the outputs of ``explain.onnx``, in float32."""

    precision = FP32
    tolerance = FP32_TOLERANCE

    def __init__(self, session: Any, manifest: Manifest) -> None:
        self._session = session
        self._image = manifest.tensors.image
        self.layer = manifest.explain_layer

    def prepare_thread(self) -> None:
        """Lower the calling thread's priority; the session's own threads have it already."""
        lower_priority()

    def explain(
        self, images: NDArray[np.uint8], targets: Sequence[int], methods: Sequence[Method]
    ) -> list[Explanation]:
        """Explain model inputs (N, 1, S, S), uint8."""
        outputs = self._session.run(list(EXPLAIN_OUTPUTS), {self._image: images})
        found = read_heatmaps(outputs, targets, methods)
        rows = zip(found.values, found.logits, found.embedding, strict=True)
        return [Explanation(*row) for row in rows]


def build_graph_explainer(bundle: Bundle, provider: str, settings: Settings) -> GraphExplainer:
    """Open a bundle's graph with gradients, on its engine's device.

    Raises:
        StartupError: The bundle has none, it is unusable, or another precision was asked for.
    """
    manifest, path = bundle.manifest, bundle.explain_path
    if path is None:
        raise StartupError(
            f"Model {manifest.name} cannot be explained: its bundle has no {EXPLAIN_NAME}. Export "
            "it again, or use CXR_EXPLAIN=torch or off. Support vector machines have none."
        )
    if settings.explain_precision not in ("auto", FP32):
        raise StartupError(
            f"CXR_EXPLAIN_PRECISION={settings.explain_precision} takes PyTorch: {EXPLAIN_NAME} "
            f"computes in {FP32}. Use auto, or CXR_EXPLAIN=off."
        )
    placement = ON_CPU
    if provider in ON_CUDA_DEVICE:
        placement = place_on_cuda(settings.device_id, graphs=False)
    placed = placement, settings.explain_threads, bundle.weights_path
    # Threads that the session begins inherit the priority of the one that opens it.
    with ThreadPoolExecutor(1, initializer=lower_priority) as thread:
        opening = thread.submit(open_graph, path, manifest, EXPLAIN_OUTPUTS, *placed)
        session = opening.result()
    return_freed_memory()
    return GraphExplainer(session, manifest)
