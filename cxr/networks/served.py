"""The whole computation from model input to answer, as it is exported and explained."""

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
    """Outputs of the served graph, in the order of its ONNX outputs."""

    logits: torch.Tensor
    probabilities: torch.Tensor
    embedding: torch.Tensor


class ServedNetwork(nn.Module):
    """A network with what surrounds it: normalisation, mirrored pass, calibration, softmax.

    Args:
        network: The trained network.
        mean: Mean of the training images in [0, 1].
        std: Standard deviation of the training images in [0, 1].
        temperature: Divisor of the logits, fitted on the validation patients.
        mirror: Average logits and embedding over the image and its mirror image.
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
        """Model inputs (N, 1, S, S), uint8, to what the network takes, float32."""
        return (images.to(torch.float32) / 255.0 - self.mean) / self.std

    def forward(self, images: torch.Tensor) -> ServedOutputs:
        """ServedOutputs for model inputs.

        Args:
            images: Shape (N, 1, S, S), uint8.

        Returns:
            Logits (N, K) before calibration, calibrated probabilities (N, K), embedding (N, D).
        """
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
    """Give a trained network with what surrounds it when it is served, in evaluation mode."""
    served = ServedNetwork(
        network,
        normalisation.mean,
        normalisation.std,
        calibration.temperature,
        calibration.mirror,
    )
    return served.eval()


def served_network(weights: Path, described: Manifest | Run) -> ServedNetwork:
    """Build the PyTorch network of a bundle or a run, in evaluation mode.

    Raises:
        RunError: The weights are not this architecture's.
    """
    network = build_network(described.architecture, len(described.task.classes))
    load_weights(network, weights)
    return surround(network, described.normalisation, described.calibration)


def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware (AVX-512 bf16 or AMX)."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
