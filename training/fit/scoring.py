"""Logits of many samples from the PyTorch network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cxr.bundles.manifest import Normalisation
from training.device import Compute
from training.fit.augment import Augmenter

SCORING_BATCH = 64


@torch.inference_mode()
def score(
    network: nn.Module,
    pixels: NDArray[np.uint8],
    normalisation: Normalisation,
    compute: Compute,
    mirror: bool = False,
    augmenter: Augmenter | None = None,
) -> NDArray[np.float32]:
    """Run a network, which is left in evaluation mode.

    ``pixels``: Shape (N, 1, S, S), uint8. ``mirror``: Average with the mirror image's logits.

    Returns:
        Logits before calibration, shape (N, K).
    """
    network.eval()
    chunks = []
    for start in range(0, len(pixels), SCORING_BATCH):
        images = torch.from_numpy(pixels[start : start + SCORING_BATCH]).float().div_(255.0)
        if augmenter is not None:
            images = augmenter(images)
        images = compute.put((images - normalisation.mean) / normalisation.std)
        with compute.autocast():
            logits = network(images).float()
            if mirror:
                logits = (logits + network(images.flip(3)).float()) / 2.0
        chunks.append(logits.cpu())
    return torch.cat(chunks).numpy()
