"""Head of the older networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
        count, channels, height, width = features.shape
        pooled = self.pooled_px
        passed = self.fc2.weight * (embedding > 0)[:, None]  # (N, K, D) through the ReLU
        at_pool = (passed @ self.fc1.weight).reshape(count, -1, channels, pooled, pooled)
        # Rows: each position's share of the cells it is averaged into.
        rows, columns = _pool_shares(height, pooled), _pool_shares(width, pooled)
        return rows.to(at_pool) @ at_pool @ columns.to(at_pool).T

    @override
    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.dropout(embedding))


def _pool_shares(side: int, pooled: int) -> torch.Tensor:
    return F.adaptive_avg_pool1d(torch.eye(side)[None], pooled)[0]  # (side, pooled)
