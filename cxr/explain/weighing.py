"""What each method makes of feature maps and gradients, for every path that explains.

NumPy only: a service without PyTorch weighs as the one with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.methods import Method

EPSILON = 1e-12
"""Below it a map is zero: sums of float32 feature maps cannot be told from zero."""

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Heatmaps:
    """Heatmaps (N, h, w) in [0, 1], uncalibrated logits (N, K), embedding (N, D), float32."""

    values: FloatArray
    logits: FloatArray
    embedding: FloatArray


def read_heatmaps(
    outputs: Sequence[FloatArray], targets: Sequence[int], methods: Sequence[Method]
) -> Heatmaps:
    """Compute heatmaps from a graph's :data:`~cxr.bundles.manifest.EXPLAIN_OUTPUTS`.

    Args:
        outputs: In that order.
        targets: Column of each image's explained class.
        methods: One for each image.
    """
    logits, embedding, maps, gradients = outputs
    chosen = gradients[np.arange(len(targets)), :, list(targets)]  # (N, V, C, h, w)
    return Heatmaps(compute_heatmaps(maps, chosen, methods), logits, embedding)


def compute_heatmaps(
    maps: FloatArray, gradients: FloatArray, methods: Sequence[Method]
) -> FloatArray:
    """Weigh feature maps into heatmaps (N, h, w) in [0, 1].

    With a mirrored pass, its map is flipped back and both are averaged before scaling, each by its
    contribution to the answer.

    Args:
        maps: Shape (N, V, C, h, w): of the image, and of its mirror image if V is 2.
        gradients: Of each pass's explained logit at them, the same shape.
        methods: One for each image.
    """
    # Numbers that overflow or are none at all come out as an empty map.
    with np.errstate(over="ignore", invalid="ignore"):
        weighed = np.stack(
            [
                [weigh(*one, method) for one in zip(own, gradient, strict=True)]
                for own, gradient, method in zip(maps, gradients, methods, strict=True)
            ]
        )
        # Gradient times activation: what each position adds to the logit, to first order.
        added = (gradients * maps).sum(axis=2)
        return scale(_mean_of_passes(weighed), _mean_of_passes(added))


def _mean_of_passes(values: FloatArray) -> FloatArray:
    return np.concatenate([values[:, :1], values[:, 1:, :, ::-1]], axis=1).mean(axis=1)


def weigh(maps: FloatArray, gradient: FloatArray, method: Method) -> FloatArray:
    """Weigh one pass's maps (C, h, w) by their gradient into a map (h, w), not clipped.

    Sources: Selvaraju et al., "Grad-CAM", ICCV 2017; Chattopadhay et al., "Grad-CAM++",
    WACV 2018 (equation 19, for an exponential of the logit); Jiang et al., "LayerCAM", IEEE
    TIP 2021.
    """
    if method == "gradcam":
        weights = gradient.mean(axis=(1, 2), keepdims=True)
    elif method == "gradcam_plus_plus":
        weights = _plus_plus_weights(maps, gradient)
    else:
        weights = np.maximum(gradient, 0)
    return (weights * maps).sum(axis=0)


def _plus_plus_weights(maps: FloatArray, gradient: FloatArray) -> FloatArray:
    square = gradient**2
    bottom = 2 * square + maps.sum(axis=(1, 2), keepdims=True) * gradient**3
    # The authors' code leaves positions without gradient out.
    weights = np.where(gradient != 0, square / (bottom + np.float32(1e-6)), 0)
    return (weights * np.maximum(gradient, 0)).sum(axis=(1, 2), keepdims=True)


def scale(maps: FloatArray, evidence: FloatArray) -> FloatArray:
    """Scale maps (N, h, w) into [0, 1]; maps indistinguishable from zero become 0.

    Maps are divided by their maximum, never stretched from their minimum, and scaled to the share
    of the evidence (each position's part of the logit) for the class.
    """
    maps = np.maximum(maps, 0)
    largest = maps.max(axis=(1, 2), keepdims=True)
    strongest = np.abs(evidence).max(axis=(1, 2), keepdims=True)
    # Also false for what is not a number.
    is_map = (largest > EPSILON) & (strongest > EPSILON)
    largest, strongest = (np.where(is_map, one, 1) for one in (largest, strongest))
    share_for = np.maximum(evidence.max(axis=(1, 2), keepdims=True), 0) / strongest
    return np.where(is_map, maps / largest * share_for, 0).astype(np.float32)
