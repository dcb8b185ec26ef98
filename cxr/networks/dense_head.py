"""What the older networks end in: pooled maps, a hidden layer, dropout, a classifier."""

from __future__ import annotations

import torch
from torch import nn

from cxr.networks.network import Network

DROPOUT = 0.5


class DenseHead(Network):
    """A network whose embedding is a hidden layer; a subclass adds the features."""

    classifier = "fc2"

    def add_head(self, channels: int, pooled_px: int, hidden: int, num_classes: int) -> None:
        """Build the head.

        Args:
            channels: Of the feature maps.
            pooled_px: Side they are averaged to, so that images of any size can be taken.
            hidden: Size of the hidden layer.
            num_classes: Number of logits.
        """
        self.pool = nn.AdaptiveAvgPool2d(pooled_px)
        self.fc1 = nn.Linear(channels * pooled_px**2, hidden)
        self.dropout = nn.Dropout(DROPOUT)
        self.fc2 = nn.Linear(hidden, num_classes)

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """Hidden layer, (N, hidden)."""
        return torch.relu(self.fc1(self.pool(features).flatten(1)))

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Logits (N, K)."""
        return self.fc2(self.dropout(embedding))
