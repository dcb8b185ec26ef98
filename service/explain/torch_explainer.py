"""The explainer on PyTorch, loaded here only.

One low-priority thread with few cores leaves predictions the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle
from cxr.bundles.manifest import FP32
from cxr.bundles.methods import Method
from cxr.errors import RunError
from cxr.explain.grad_cam import GradCam
from cxr.networks.served import has_fast_bf16, served_network
from service.engines.placement import ON_CUDA_DEVICE
from service.errors import StartupError
from service.explain.explaining import FP32_TOLERANCE, Explanation, Tolerance
from service.scheduling.priority import lower_priority
from service.settings import Settings

TOLERANCES = {FP32: FP32_TOLERANCE, "bf16": Tolerance(0.25, 0.06)}
"""Allowed differences by precision.

Over radiographs and both shipped models the logits differed by 0.10 at most in bf16, whose eight
bits of mantissa are rounded in each layer. Logits alone cannot tell two images of one class apart,
for they are nearly the same; embeddings can: they differed by 0.026 of their length at most in
bf16, and those of two radiographs by 0.9 and more in half of all pairs, by more than 0.09 in 99 of
100.
"""

DTYPES = {FP32: torch.float32, "bf16": torch.bfloat16}


class TorchExplainer:
    """Explains by Grad-CAM and relatives on the retained PyTorch network."""

    def __init__(self, grad_cam: GradCam, layer: str, precision: str, threads: int) -> None:
        self._grad_cam = grad_cam
        self._threads = threads
        self.layer = layer
        self.precision = precision
        self.tolerance = TOLERANCES[precision]

    def prepare_thread(self) -> None:
        """Limit the calling thread's cores and priority."""
        torch.set_num_threads(self._threads)
        lower_priority()  # PyTorch's own threads are begun by this one and inherit it

    def explain(
        self, images: NDArray[np.uint8], targets: Sequence[int], methods: Sequence[Method]
    ) -> list[Explanation]:
        """Explain model inputs (N, 1, S, S), uint8."""
        found = self._grad_cam.explain(images, targets, methods)
        rows = zip(found.values, found.logits, found.embedding, strict=True)
        return [Explanation(*row) for row in rows]


def build_torch_explainer(bundle: Bundle, provider: str, settings: Settings) -> TorchExplainer:
    """Open a bundle's weights in PyTorch, on its engine's device.

    Raises:
        StartupError: The architecture is unknown, or PyTorch cannot use CUDA.
    """
    manifest = bundle.manifest
    try:
        served = served_network(bundle.weights_path, manifest)
    except RunError as error:
        raise _cannot(manifest.name, str(error)) from None
    layer = served.network.explain_layer
    if layer != manifest.explain_layer:
        raise _cannot(manifest.name, f"Its manifest names another layer than {layer}.")
    device = "cpu"
    if provider in ON_CUDA_DEVICE:
        device = f"cuda:{settings.device_id}"
        if not torch.cuda.is_available():
            raise _cannot(manifest.name, "PyTorch finds no CUDA device.")
        # TF32 would round what is compared with float32.
        torch.backends.cudnn.allow_tf32 = False
    precision: str = settings.explain_precision
    if precision == "auto":
        precision = "bf16" if device == "cpu" and has_fast_bf16() else FP32
    grad_cam = GradCam(served, DTYPES[precision], device)
    return TorchExplainer(grad_cam, layer, precision, settings.explain_threads)


def _cannot(name: str, reason: str) -> StartupError:
    return StartupError(
        f"Model {name} cannot be explained: {reason} "
        "Set CXR_EXPLAIN=off to serve without explanations."
    )
