"""The whole computation, as it is exported and explained."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from cxr.bundles.manifest import Calibration, Manifest, Normalisation
from cxr.bundles.run import Run
from cxr.networks import build_network
from cxr.networks.network import Network
from cxr.networks.weights import load_weights


class ServedOutputs(NamedTuple):
    """Logits (N, K), calibrated probabilities (N, K), embedding (N, D)."""

    logits: torch.Tensor
    probabilities: torch.Tensor
    embedding: torch.Tensor


class ServedNetwork(nn.Module):
    """A network with normalisation, mirrored pass, calibration and softmax around it.

    ``mean`` and ``std`` are those of images in [0, 1]; ``temperature`` divides the logits;
    ``mirror`` averages logits and embedding over the image and its mirror image.
    """

    def __init__(
        self, network: Network, mean: float, std: float, temperature: float, mirror: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.mean, self.std = mean, std
        self.temperature = temperature
        self.mirror = mirror

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise model inputs (N, 1, S, S), uint8, to float32."""
        return (images.to(torch.float32) / 255.0 - self.mean) / self.std

    def forward(self, images: torch.Tensor) -> ServedOutputs:
        """Compute the outputs for model inputs (N, 1, S, S), uint8."""
        normalised = self.normalise(images)
        embedding = self.network.embed(self.network.features(normalised))
        logits = self.network.classify(embedding)
        if self.mirror:
            mirrored = self.network.embed(self.network.features(normalised.flip(3)))
            logits = (logits + self.network.classify(mirrored)) / 2.0
            embedding = (embedding + mirrored) / 2.0
        probabilities = torch.softmax(logits / self.temperature, dim=1)
        return ServedOutputs(logits, probabilities, embedding)


def surround(
    network: Network, normalisation: Normalisation, calibration: Calibration
) -> ServedNetwork:
    """Build the served network around a trained one."""
    served = ServedNetwork(
        network,
        normalisation.mean,
        normalisation.std,
        calibration.temperature,
        calibration.mirror,
    )
    return served.eval()


def served_network(weights: Path, described: Manifest | Run) -> ServedNetwork:
    """Build a bundle's or run's network for evaluation; RunError for other weights."""
    network = build_network(described.architecture, len(described.task.classes))
    load_weights(network, weights)
    return surround(network, described.normalisation, described.calibration)


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX-512 bf16 or AMX)."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
