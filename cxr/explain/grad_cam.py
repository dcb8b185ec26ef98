"""Grad-CAM and its relatives on the PyTorch path.

Gradients are taken of ``embed`` and ``classify`` only: no hook, no state between calls, little
more than one forward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cxr.bundles.methods import Method
from cxr.networks.served import ServedNetwork

EPSILON = 1e-12
"""Below it a map is zero: sums of float32 feature maps cannot be told from zero."""


@dataclass(frozen=True)
class Heatmaps:
    """Heatmaps (N, h, w) in [0, 1], uncalibrated logits (N, K), embedding (N, D), float32."""

    values: NDArray[np.float32]
    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]


class GradCam:
    """Explains answers of one network. Several threads may call one instance.

    With a mirrored pass, its map is flipped back and both are averaged before scaling, each by its
    contribution to the answer. Features are computed in ``dtype``, all else in float32. The network
    is copied.
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
            normalised = served.normalise(torch.from_numpy(images).to(self._device))
            views = [normalised, normalised.flip(3)] if served.mirror else [normalised]
            features = [self._features(view) for view in views]
        chosen = torch.as_tensor(list(targets), device=self._device)
        logits, embedding, maps, evidence = (torch.zeros((), device=self._device) for _ in range(4))
        for number, one in enumerate(features):
            leaf = one.requires_grad_(True)
            embedded = served.network.embed(leaf)
            answer = served.network.classify(embedded)
            explained = answer.gather(1, chosen[:, None]).sum()
            (gradient,) = torch.autograd.grad(explained, leaf)
            found = weigh(leaf.detach(), gradient, methods)
            # Gradient times activation: what each position adds to the logit, to first order.
            added = (gradient * leaf.detach()).sum(1)
            logits = logits + answer.detach() / len(features)
            embedding = embedding + embedded.detach() / len(features)
            maps = maps + (found.flip(2) if number else found) / len(features)
            evidence = evidence + (added.flip(2) if number else added) / len(features)
        outputs = (scale(maps, evidence), logits, embedding)
        return Heatmaps(*(output.cpu().numpy() for output in outputs))

    def _features(self, view: torch.Tensor) -> torch.Tensor:
        images = view.to(self._dtype).contiguous(memory_format=torch.channels_last)
        return self._body.features(images).float()


def weigh(
    features: torch.Tensor, gradient: torch.Tensor, methods: Sequence[Method]
) -> torch.Tensor:
    """Weigh feature maps (N, C, h, w) by their gradients into maps (N, h, w), not clipped.

    Sources: Selvaraju et al., "Grad-CAM", ICCV 2017; Chattopadhay et al., "Grad-CAM++",
    WACV 2018 (equation 19, for an exponential of the logit); Jiang et al., "LayerCAM", IEEE
    TIP 2021.
    """
    rows = []
    for row, method in enumerate(methods):
        if method == "gradcam":
            found = (gradient[row].mean(dim=(1, 2), keepdim=True) * features[row]).sum(0)
        elif method == "gradcam_plus_plus":
            found = _plus_plus(features[row], gradient[row])
        else:
            found = (gradient[row].clamp(min=0) * features[row]).sum(0)
        rows.append(found)
    return torch.stack(rows)


def _plus_plus(features: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    square = gradient**2
    bottom = 2 * square + features.sum(dim=(1, 2), keepdim=True) * gradient**3
    # The authors' code leaves positions without gradient out.
    weights = torch.where(gradient != 0, square / (bottom + 1e-6), torch.zeros_like(square))
    weights = (weights * gradient.clamp(min=0)).sum(dim=(1, 2), keepdim=True)
    return (weights * features).sum(0)


def scale(maps: torch.Tensor, evidence: torch.Tensor) -> torch.Tensor:
    """Scale maps (N, h, w) into [0, 1]; maps indistinguishable from zero become 0.

    Maps are divided by their maximum, never stretched from their minimum, and scaled to the share
    of the evidence (each position's part of the logit) for the class.
    """
    maps = maps.clamp(min=0)
    largest = maps.amax(dim=(1, 2), keepdim=True)
    strongest = evidence.abs().amax(dim=(1, 2), keepdim=True)
    share_for = evidence.amax(dim=(1, 2), keepdim=True).clamp(min=0) / strongest
    # Also false for what is not a number.
    is_map = (largest > EPSILON) & (strongest > EPSILON)
    return torch.where(is_map, maps / largest * share_for, torch.zeros_like(maps))
