"""Grad-CAM and its relatives on the PyTorch path.

Gradients are taken of ``embed`` and ``classify`` only: no hook, no state between calls, little
more than one forward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cxr.bundles.methods import Method
from cxr.explain.weighing import Heatmaps, compute_heatmaps
from cxr.networks.served import ServedNetwork


class GradCam:
    """Explains answers of one network. Several threads may call one instance.

    Features are computed in ``dtype``, all else in float32. The network is copied.
    """

    def __init__(
        self,
        served: ServedNetwork,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self._device = torch.device(device)
        self._dtype = dtype
        self._head = copy.deepcopy(served).eval().requires_grad_(False).to(self._device)
        # Channels last is the layout in which convolutions are fast.
        body = copy.deepcopy(self._head.network).to(dtype=dtype)
        self._body = body.to(memory_format=torch.channels_last)

    def explain(
        self, images: NDArray[np.uint8], targets: Sequence[int], methods: Sequence[Method]
    ) -> Heatmaps:
        """Explain model inputs (N, 1, S, S), uint8, by target class and method of each."""
        served = self._head
        with torch.no_grad():
            passes = served.passes(torch.from_numpy(images).to(self._device))
            features = [self._features(one) for one in passes]
        chosen = torch.as_tensor(list(targets), device=self._device)
        gradients: list[torch.Tensor] = []
        logits, embedding = [], []
        for one in features:
            leaf = one.requires_grad_(True)
            embedded = served.network.embed(leaf)
            answer = served.network.classify(embedded)
            explained = answer.gather(1, chosen[:, None]).sum()
            gradients += torch.autograd.grad(explained, leaf)
            logits.append(answer.detach())
            embedding.append(embedded.detach())
        maps = [leaf.detach() for leaf in features]
        return Heatmaps(
            compute_heatmaps(_on_host(maps, 1), _on_host(gradients, 1), methods),
            _on_host(logits, 0).mean(axis=0),
            _on_host(embedding, 0).mean(axis=0),
        )

    def _features(self, view: torch.Tensor) -> torch.Tensor:
        images = view.to(self._dtype).contiguous(memory_format=torch.channels_last)
        return self._body.features(images).float()


def _on_host(passes: Sequence[torch.Tensor], axis: int) -> NDArray[np.float32]:
    return torch.stack(list(passes), dim=axis).cpu().numpy()
