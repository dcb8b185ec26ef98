"""The graph that explains without PyTorch, beside the weights it reads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Protocol

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from cxr.bundles.manifest import EXPLAIN_NAME, WEIGHTS_NAME, Tensors
from cxr.bundles.methods import METHODS, Method
from cxr.errors import BundleError
from cxr.explain.grad_cam import GradCam
from cxr.explain.weighing import Heatmaps
from cxr.networks.network import Network
from cxr.networks.served import ServedNetwork
from export.comparison import EMBEDDING_TOLERANCE, LOGIT_TOLERANCE
from export.graph import explain_graph
from export.shared_weights import share_weights

HEATMAP_TOLERANCE = 1e-3  # of values in [0, 1]; a wrong gradient moves the hottest place

GRADIENT_TOLERANCE = 1e-4  # of the largest one; float32 sums in another order are off by 1e-6

NETWORK_PREFIX = "network."
"""Before the weights' names in the graph."""


class Explainer(Protocol):
    """Explains answers."""

    def explain(
        self, images: NDArray[np.uint8], targets: Sequence[int], methods: Sequence[Method]
    ) -> Heatmaps:
        """Explain model inputs (N, 1, S, S), uint8, by target class and method of each."""


def write_explain_graph(
    directory: Path,
    served: ServedNetwork,
    size_px: int,
    tensors: Tensors,
    images: NDArray[np.uint8],
) -> Path | None:
    """Write ``explain.onnx`` beside the weights in a bundle's directory.

    Args:
        directory: Holds ``weights.safetensors``, those of ``served``.
        served: In evaluation mode.
        size_px: S.
        tensors: Names of the bundle's graph.
        images: Model inputs (N, 1, S, S), uint8, to try the closed form on.

    Returns:
        The file, or None if the network has no gradients in closed form.
    """
    with torch.no_grad():
        normalised = served.normalise(torch.from_numpy(images))
    if not has_class_gradients(served.network, normalised):
        return None
    model = explain_graph(served, size_px, tensors)
    path = directory / EXPLAIN_NAME
    onnx.save_model(share_weights(model, NETWORK_PREFIX, directory / WEIGHTS_NAME), path)
    onnx.checker.check_model(str(path), full_check=True)
    return path


def has_class_gradients(network: Network, images: torch.Tensor) -> bool:
    """Return whether a network's closed form is what autograd finds.

    Args:
        network: In evaluation mode.
        images: Normalised, shape (N, 1, S, S).
    """
    with torch.no_grad():
        maps = network.features(images)
        try:
            given = network.class_gradients(maps, network.embed(maps))
        except NotImplementedError:
            return False
    leaf = maps.requires_grad_(True)
    logits = network.classify(network.embed(leaf)).sum(dim=0)
    found = [torch.autograd.grad(one, leaf, retain_graph=True)[0] for one in logits]
    expected = torch.stack(found, dim=1)
    if given.shape != expected.shape:
        return False
    gap = float((given - expected).abs().max())
    return gap <= GRADIENT_TOLERANCE * float(expected.abs().max())


def verify_explain_graph(
    served: ServedNetwork, candidate: Explainer, images: NDArray[np.uint8]
) -> None:
    """Compare the graph's explanations of every class with PyTorch's, methods by turns.

    BundleError if they disagree.
    """
    reference = GradCam(served)
    methods = list(islice(cycle(METHODS), len(images)))
    classes = candidate.explain(images[:1], [0], methods[:1]).logits.shape[1]
    gaps = []
    for target in range(classes):
        targets = [target] * len(images)
        expected = reference.explain(images, targets, methods)
        given = candidate.explain(images, targets, methods)
        gaps.append(
            [
                np.abs(given.logits - expected.logits).max(),
                np.abs(given.embedding - expected.embedding).max(),
                np.abs(given.values - expected.values).max(),
            ]
        )
    allowed = (LOGIT_TOLERANCE, EMBEDDING_TOLERANCE, HEATMAP_TOLERANCE)
    # NumPy's max keeps a NaN, which Python's may drop.
    for what, gap, most in zip(
        ("logits", "embeddings", "heatmaps"), np.max(gaps, axis=0), allowed, strict=True
    ):
        if not gap <= most:  # also true for NaN
            raise BundleError(
                f"PyTorch and {EXPLAIN_NAME} disagree: {what} differ by {gap:.2e}; at most "
                f"{most:.0e} is allowed."
            )
