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
        self.pooled_px = pooled_px
        self.fc1 = nn.Linear(channels * pooled_px**2, hidden)
        self.dropout = nn.Dropout(DROPOUT)
        self.fc2 = nn.Linear(hidden, num_classes)

    @override
    def embed(self, features: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.fc1(self.pool(features).flatten(1)))

    @override
    def class_gradients(self, features: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        count, channels, side, _ = features.shape
        pooled = self.pooled_px
        assert side % pooled == 0, "the maps are averaged over equal squares"
        times = side // pooled
        passed = self.fc2.weight * (embedding > 0)[:, None]  # (N, K, D) through the ReLU
        at_pool = (passed @ self.fc1.weight).reshape(count, -1, channels, pooled, pooled)
        spread = at_pool.repeat_interleave(times, dim=3).repeat_interleave(times, dim=4)
        return spread / times**2

    @override
    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.dropout(embedding))
