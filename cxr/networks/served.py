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

    def passes(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Return the normalised images, and the mirrored ones if they are answered, too."""
        normalised = self.normalise(images)
        return [normalised, normalised.flip(3)] if self.mirror else [normalised]

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


class ExplainedOutputs(NamedTuple):
    """What heatmaps follow from, V passes of each image.

    Logits (N, K) and embedding (N, D) as served, feature maps (N, V, C, h, w), and the gradients
    (N, V, K, C, h, w) of each pass's logits at them. Mirrored passes are not flipped back.
    """

    logits: torch.Tensor
    embedding: torch.Tensor
    maps: torch.Tensor
    gradients: torch.Tensor


class ExplainedNetwork(nn.Module):
    """The served network with gradients in closed form, so that they can be exported."""

    def __init__(self, served: ServedNetwork) -> None:
        super().__init__()
        self.network = served.network
        self._passes = served.passes

    def forward(self, images: torch.Tensor) -> ExplainedOutputs:
        """Compute the outputs for model inputs (N, 1, S, S), uint8.

        Raises:
            NotImplementedError: The network has no gradients in closed form.
        """
        maps = [self.network.features(one) for one in self._passes(images)]
        embedding = [self.network.embed(one) for one in maps]
        logits = [self.network.classify(one) for one in embedding]
        gradients = map(self.network.class_gradients, maps, embedding)
        return ExplainedOutputs(
            torch.stack(logits).mean(dim=0),
            torch.stack(embedding).mean(dim=0),
            torch.stack(maps, dim=1),
            torch.stack(list(gradients), dim=1),
        )


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
