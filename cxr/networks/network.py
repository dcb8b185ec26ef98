"""What every network offers to training, export and the explanation of its answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

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
        renames: What published weights call its parameters, as pairs of a regular expression
            and what replaces it, applied one after the other.
    """

    explain_layer: str
    classifier: str
    stages: tuple[str, ...]
    renames: ClassVar[tuple[tuple[str, str], ...]] = ()

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

    def layers(self) -> list[nn.Module]:
        """Those that hold parameters themselves, from the input to the output.

        A convolution is one, a batch norm or layer norm another, a linear layer a third. The
        order is that in which the network registers them.
        """
        return [
            module
            for module in self.modules()
            if next(module.parameters(recurse=False), None) is not None
        ]

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

    def train_last(self, count: int) -> None:
        """Let the last layers learn and freeze the others, batch norm statistics included.

        Dropout drops where a layer before it learns.

        Args:
            count: How many of :meth:`layers`, counted from the output.

        Raises:
            ValueError: The network has fewer.
        """
        layers = self.layers()
        if count > len(layers):
            raise ValueError(f"no {count} layers; this network has {len(layers)}")
        self.eval()
        self.requires_grad_(False)
        modules = list(self.modules())
        for module in modules[modules.index(layers[-count]) :]:
            module.training = True
        for layer in layers[-count:]:
            for parameter in layer.parameters(recurse=False):
                parameter.requires_grad_(True)
