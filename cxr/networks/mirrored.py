"""A network that averages over the mirror image by itself."""

from __future__ import annotations

import torch

from cxr.networks.network import Network
from cxr.networks.stack import Stack


class Mirrored(Network):
    """A network whose logits are the mean over the image and its mirror image.

    Where a whole model mirrors, what surrounds it does so. This is for a member of an ensemble
    whose other members do not.

    Args:
        body: The network.
    """

    explain_layer = "stack"

    def __init__(self, body: Network) -> None:
        super().__init__()
        self.body = body
        self.stack = Stack((1, 1))
        self.stages = tuple(f"body.{stage}" for stage in body.stages)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Maps of the image, and of the mirror image turned back."""
        mirrored = self.body.features(images.flip(3)).flip(3)
        return self.stack([self.body.features(images), mirrored])

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """Embedding of the image, then that of the mirror image."""
        plain, mirrored = features.chunk(2, dim=1)
        return torch.cat([self.body.embed(plain), self.body.embed(mirrored.flip(3))], dim=1)

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Mean of both logits."""
        plain, mirrored = embedding.chunk(2, dim=1)
        return (self.body.classify(plain) + self.body.classify(mirrored)) / 2.0

    def add_to_logits(self, offset: torch.Tensor) -> None:
        """As the body does."""
        self.body.add_to_logits(offset)
