"""Checkpoints and weight averages, which both trainers keep in the same way."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from cxr.errors import RunError

CHECKPOINT_NAME = "checkpoint.pt"


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """Return the exponential moving average of a network's weights and buffers."""

    def average(mean: torch.Tensor, current: torch.Tensor, count: Any) -> torch.Tensor:
        # A young average forgets its start sooner than the recipe's decay would.
        kept = min(decay, (1.0 + float(count)) / (10.0 + float(count)))
        return mean * kept + current.to(mean.dtype) * (1.0 - kept)

    return AveragedModel(network, avg_fn=average, use_buffers=True)


class Checkpoint:
    """The state of one training in a file.

    Args:
        directory: Existing folder.
        identity: Everything the training depends on; a file with another identity is refused.
    """

    def __init__(self, directory: Path, identity: str) -> None:
        self.path = directory / CHECKPOINT_NAME
        self.identity = hashlib.sha256(identity.encode()).hexdigest()

    def save(self, state: dict[str, Any]) -> None:
        """Replace the file atomically."""
        staging = self.path.with_suffix(".tmp")
        torch.save({"identity": self.identity, **state}, staging)
        staging.replace(self.path)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """Load the state, or return None if there is no file.

        Raises:
            RunError: The file belongs to another training.
        """
        if not self.path.is_file():
            return None
        state: dict[str, Any] = torch.load(self.path, map_location=device, weights_only=True)
        if state["identity"] != self.identity:
            raise RunError(
                f"{self.path} belongs to another recipe, data set or number of processes. "
                "Choose another --out, or start over with --restart."
            )
        return state
