"""A network whose classifier is a support vector machine."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from cxr.networks.network import Network


class Machines(NamedTuple):
    """The numbers of support vector machines: one for two classes, else one for each class.

    Attributes:
        centre: Shape (D,): what is taken off an embedding.
        spread: Shape (D,): what it is then divided by.
        vectors: Shape (S, D): support vectors of all machines, or their weights where linear.
        coefficients: Shape (M, S): of each machine, 0 for vectors that are not its own.
        intercept: Shape (M,).
        gamma: Shape (): of the radial kernel.
    """

    centre: torch.Tensor
    spread: torch.Tensor
    vectors: torch.Tensor
    coefficients: torch.Tensor
    intercept: torch.Tensor
    gamma: torch.Tensor


class Svm(Network):
    """A trained network whose embeddings are classified by support vector machines.

    For two classes the logits differ by the decision value; for more, each class's logit is that
    of its machine against all others. The numbers are fitted elsewhere and loaded or adopted; the
    body's own classifier stays, unused.

    Source: Cortes, Vapnik, "Support-Vector Networks", Machine Learning 1995.

    Args:
        body: The network.
        radial: With the radial kernel instead of the linear one.
    """

    def __init__(self, body: Network, *, radial: bool) -> None:
        super().__init__()
        self.body = body
        self.radial = radial
        self.explain_layer = f"body.{body.explain_layer}"
        # The machines have no random start that they could be set back to.
        self.stages = tuple(f"body.{stage}" for stage in body.stages if stage != body.classifier)
        for name in Machines._fields:
            self.register_buffer(name, torch.empty(0))

    @property
    def machines(self) -> Machines:
        """The numbers."""
        return Machines(*(self.get_buffer(name) for name in Machines._fields))

    def adopt(self, machines: Machines) -> None:
        """Take over fitted machines, in float32."""
        for name, value in machines._asdict().items():
            setattr(self, name, value.float())

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The body's feature maps."""
        return self.body.features(images)

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """The body's embedding."""
        return self.body.embed(features)

    def decide(self, embedding: torch.Tensor) -> torch.Tensor:
        """Decision values (N, M) of embeddings (N, D), as scikit-learn's ``decision_function``."""
        m = self.machines
        scaled = (embedding - m.centre) / m.spread
        products = scaled @ m.vectors.T
        if self.radial:
            lengths = (scaled**2).sum(dim=1, keepdim=True) + (m.vectors**2).sum(dim=1)
            products = torch.exp(-m.gamma * (lengths - 2.0 * products).clamp(min=0.0))
        return products @ m.coefficients.T + m.intercept

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Logits (N, K)."""
        decisions = self.decide(embedding)
        if decisions.shape[1] > 1:
            return decisions
        return torch.cat([-decisions, decisions], dim=1) / 2.0

    @torch.no_grad()
    def add_to_logits(self, offset: torch.Tensor) -> None:
        """Add the offset, up to a number that is the same for both of two classes."""
        intercept = self.machines.intercept
        single = len(intercept) == 1
        intercept.add_(((offset[1] - offset[0]) if single else offset).to(intercept))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # How many support vectors there are is only known from the file.
        for name in Machines._fields:
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *rest)
