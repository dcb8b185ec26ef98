"""A network whose classifier is a support vector machine."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from typing_extensions import override

from cxr.networks.network import Network


class Machines(NamedTuple):
    """Support vector machines: one for two classes, else one for each class.

    Attributes:
        centre: Shape (D,), subtracted from embeddings.
        spread: Shape (D,), their divisor.
        vectors: Shape (S, D): support vectors, or weights where linear.
        coefficients: Shape (M, S).
        intercept: Shape (M,).
        gamma: Shape (), of the radial kernel.
    """

    centre: torch.Tensor
    spread: torch.Tensor
    vectors: torch.Tensor
    coefficients: torch.Tensor
    intercept: torch.Tensor
    gamma: torch.Tensor


class Svm(Network):
    """A trained network whose embeddings are classified by support vector machines.

    For two classes the logits differ by the decision value; for more, each is that of one machine
    against all others.

    Source: Cortes, Vapnik, "Support-Vector Networks", Machine Learning 1995.
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
        """The fitted machines."""
        return Machines(*(self.get_buffer(name) for name in Machines._fields))

    def adopt(self, machines: Machines) -> None:
        """Take over fitted machines, in float32."""
        for name, value in machines._asdict().items():
            setattr(self, name, value.float())

    @override
    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.body.features(images)

    @override
    def embed(self, features: torch.Tensor) -> torch.Tensor:
        return self.body.embed(features)

    def decide(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return decision values (N, M) of embeddings (N, D), as ``decision_function``."""
        m = self.machines
        scaled = (embedding - m.centre) / m.spread
        products = scaled @ m.vectors.T
        if self.radial:
            lengths = (scaled**2).sum(dim=1, keepdim=True) + (m.vectors**2).sum(dim=1)
            products = torch.exp(-m.gamma * (lengths - 2.0 * products).clamp(min=0.0))
        return products @ m.coefficients.T + m.intercept

    @override
    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        decisions = self.decide(embedding)
        if decisions.shape[1] > 1:
            return decisions
        return torch.cat([-decisions, decisions], dim=1) / 2.0

    @override
    def class_gradients(self, features: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("support vector machines are explained by autograd only")

    @override
    @torch.no_grad()
    def add_to_logits(self, offset: torch.Tensor) -> None:
        intercept = self.machines.intercept
        single = len(intercept) == 1
        intercept.add_(((offset[1] - offset[0]) if single else offset).to(intercept))

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # How many support vectors there are is only known from the file.
        for name in Machines._fields:
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *rest)
