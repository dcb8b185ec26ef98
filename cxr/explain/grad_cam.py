"""Grad-CAM and its relatives on the retained PyTorch path.

A network is ``features``, then ``embed`` and ``classify``. The features are computed once,
without a graph; gradients are taken of the two short last steps only, by ``torch.autograd.grad``.
So no hook is registered, nothing of one call is left for the next, and the cost is one forward
pass and little more.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cxr.explain.methods import Method
from cxr.networks.served import ServedNetwork

EPSILON = 1e-12
"""Below it a map is zero: sums of float32 feature maps cannot be told from zero."""


@dataclass(frozen=True)
class Heatmaps:
    """What a batch's answers rest on.

    Attributes:
        values: Shape (N, h, w), float32, in [0, 1], at the layer's own resolution.
        logits: Shape (N, K), float32, before calibration: the same as the exported graph's.
        embedding: Shape (N, D), float32: the same as the exported graph's.
    """

    values: NDArray[np.float32]
    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]


class GradCam:
    """Explains answers of one network. Several threads may call one instance.

    With a mirrored pass, both passes are explained and the mirrored one's map is turned back.
    The maps are averaged as the logits are, before anything is scaled: each pass counts as
    much as it contributes to the answer that is served.

    Args:
        served: The network with what surrounds it, in float32. It is not changed.
        dtype: Of the feature maps' computation: float32, or bfloat16 where it is fast. Embedding,
            logits and gradients are float32 always.
        device: Where it is computed.
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
        """Explain a batch.

        Args:
            images: Model inputs, shape (N, 1, S, S), uint8.
            targets: The class whose logit is explained, for each image.
            methods: How, for each image.
        """
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
    """Turn feature maps and their gradients into maps of what speaks for the class.

    Sources: Selvaraju et al., "Grad-CAM", ICCV 2017; Chattopadhay et al., "Grad-CAM++",
    WACV 2018 (equation 19, for an exponential of the logit); Jiang et al., "LayerCAM", IEEE
    TIP 2021.

    Args:
        features: Shape (N, C, h, w).
        gradient: Of the explained logits, same shape.
        methods: For each of the N.

    Returns:
        Shape (N, h, w), float32, neither clipped nor scaled: what is negative speaks against it.
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
    """Bring maps into [0, 1].

    What is negative becomes 0. A map is divided by its largest value, never stretched from its
    smallest one: an even map stays even. Its peak is then scaled down to the share of the
    evidence that speaks for the class: where next to nothing does, the little that is left is
    not blown up.

    Args:
        maps: Shape (N, h, w).
        evidence: What each position adds to the explained logit, same shape.

    Returns:
        Same shape, float32; 0 for a map that cannot be told from zero.
    """
    maps = maps.clamp(min=0)
    largest = maps.amax(dim=(1, 2), keepdim=True)
    strongest = evidence.abs().amax(dim=(1, 2), keepdim=True)
    share_for = evidence.amax(dim=(1, 2), keepdim=True).clamp(min=0) / strongest
    # Also false for what is not a number.
    is_map = (largest > EPSILON) & (strongest > EPSILON)
    return torch.where(is_map, maps / largest * share_for, torch.zeros_like(maps))
