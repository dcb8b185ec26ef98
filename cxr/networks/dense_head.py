"""Head of the older networks."""

from __future__ import annotations

import torch
from torch import nn
from typing_extensions import override

from cxr.networks.network import Network

DROPOUT = 0.5


class DenseHead(Network):
    """A network whose embedding is a hidden layer; subclasses add the features."""

    classifier = "fc2"

    def add_head(self, channels: int, pooled_px: int, hidden: int, num_classes: int) -> None:
        """Build the head on maps averaged to ``pooled_px``, whatever the image size."""
        self.pool = nn.AdaptiveAvgPool2d(pooled_px)
        self.fc1 = nn.Linear(channels * pooled_px**2, hidden)
        self.dropout = nn.Dropout(DROPOUT)
        self.fc2 = nn.Linear(hidden, num_classes)

    @override
    def embed(self, features: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.fc1(self.pool(features).flatten(1)))

    @override
    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.dropout(embedding))
