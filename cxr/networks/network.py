"""What every network offers to training, export and the explanation of its answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import nn


class Network(nn.Module):
    """A classifier in three steps: feature maps, embedding, logits.

    Attributes:
        explain_layer: Name of the last convolutional layer, whose feature maps Grad-CAM weighs.
        classifier: Name of the last linear layer, which gives the logits. Networks that end
            otherwise have their own :meth:`add_to_logits`.
        stages: Prefixes of parameter groups from the input to the output; a recipe's phase
            names the ones it trains.
    """

    explain_layer: str
    classifier: str
    stages: tuple[str, ...]

    @abstractmethod
    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Feature maps (N, C, h, w) of normalised images (N, 1, S, S)."""

    @abstractmethod
    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """Embedding (N, D) of feature maps (N, C, h, w)."""

    @abstractmethod
    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Logits (N, K) of embeddings (N, D)."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, K) of normalised images (N, 1, S, S)."""
        return self.classify(self.embed(self.features(images)))

    @torch.no_grad()
    def add_to_logits(self, offset: torch.Tensor) -> None:
        """Change the weights so that all logits are greater by an offset (K,)."""
        classifier = self.get_submodule(self.classifier)
        assert isinstance(classifier, nn.Linear)
        classifier.bias.add_(offset.to(classifier.bias))

    def train_only(self, stages: Sequence[str]) -> None:
        """Let the named stages learn and freeze the others, batch norm statistics included.

        Args:
            stages: Some of ``self.stages``, or ``("all",)``.

        Raises:
            ValueError: A stage the network does not have.
        """
        unknown = set(stages) - set(self.stages) - {"all"}
        if unknown:
            raise ValueError(
                f"no stage {', '.join(sorted(unknown))}; this network has {', '.join(self.stages)}"
            )
        everything = "all" in stages
        for stage in self.stages:
            learns = everything or stage in stages
            module = self.get_submodule(stage)
            module.train(learns)
            module.requires_grad_(learns)
