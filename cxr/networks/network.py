"""The interface of every network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn


class Network(nn.Module):
    """A classifier in three steps: feature maps, embedding, logits.

    Attributes:
        explain_layer: Last convolutional layer, which Grad-CAM weighs.
        classifier: Last linear layer.
        stages: Prefixes of parameter groups from input to output.
        renames: Regular expressions and replacements for names of published weights.
    """

    explain_layer: str
    classifier: str
    stages: tuple[str, ...]
    renames: ClassVar[tuple[tuple[str, str], ...]] = ()

    @abstractmethod
    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return feature maps (N, C, h, w) of normalised images (N, 1, S, S)."""

    @abstractmethod
    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """Return embeddings (N, D) of feature maps (N, C, h, w)."""

    @abstractmethod
    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K) of embeddings (N, D)."""

    def class_gradients(self, features: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Return the gradients (N, K, C, h, w) of the logits at the feature maps, in closed form.

        This one is of networks whose embedding is the mean over positions, followed by one linear
        layer; others override it.

        Args:
            features: Shape (N, C, h, w).
            embedding: Of these, shape (N, D).

        Raises:
            NotImplementedError: The network has no closed form.
        """
        classifier = self.get_submodule(self.classifier)
        assert isinstance(classifier, nn.Linear)
        count, channels, height, width = features.shape
        shares = classifier.weight / (height * width)
        return shares[None, :, :, None, None].expand(count, -1, channels, height, width)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K) of normalised images (N, 1, S, S)."""
        return self.classify(self.embed(self.features(images)))

    @torch.no_grad()
    def add_to_logits(self, offset: torch.Tensor) -> None:
        """Change the weights so that all logits grow by an offset (K,)."""
        classifier = self.get_submodule(self.classifier)
        assert isinstance(classifier, nn.Linear)
        classifier.bias.add_(offset.to(classifier.bias))

    def layers(self) -> list[nn.Module]:
        """Return the modules with own parameters, in order of registration."""
        return [
            module
            for module in self.modules()
            if next(module.parameters(recurse=False), None) is not None
        ]

    def train_only(self, stages: Sequence[str]) -> None:
        """Train the named stages, or ``("all",)``, and freeze the others with their statistics."""
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
        """Train the last layers, and freeze the others with their statistics.

        Dropout is active where a layer before it is trained. ValueError if there are fewer layers.
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
