"""The feature space in which images are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from cxr.bundles.manifest import WEIGHTS_NAME
from cxr.bundles.run import open_run
from cxr.networks.served import served_network
from cxr.section import Section
from training.device import Compute
from training.fit.scoring import SCORING_BATCH

DEFAULT_FEATURES = Path(__file__).parents[3] / "models" / "resnet18"


class FeatureNetwork(Section):
    """Identity of the network."""

    name: str
    version: str
    size_px: int
    weights_sha256: str


class FeatureSpace:
    """Embeddings of a trained run; RunError if it is damaged.

    Figures compare only within one network, never with those of an Inception network.
    """

    def __init__(self, run: Path, compute: Compute) -> None:
        described = open_run(run)
        self.compute = compute
        self.served = compute.place(served_network(run / WEIGHTS_NAME, described))
        self.about = FeatureNetwork(
            name=described.name,
            version=described.version,
            size_px=described.preprocessing.size_px,
            weights_sha256=described.weights_sha256,
        )

    @torch.inference_mode()
    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed images (N, 1, S, S), uint8, resized to the network's input: (N, D)."""
        size, found = (self.about.size_px, self.about.size_px), []
        for start in range(0, len(pixels), SCORING_BATCH):
            images = torch.from_numpy(pixels[start : start + SCORING_BATCH]).float()
            if images.shape[-1] != self.about.size_px:
                images = F.interpolate(
                    images, size, mode="bilinear", antialias=True, align_corners=False
                )
            images = self.compute.put(self.served.normalise(images))
            with self.compute.autocast():
                network = self.served.network
                found.append(network.embed(network.features(images)).float().cpu())
        return torch.cat(found).numpy()
