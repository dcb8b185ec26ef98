"""Several networks or passes that answer as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from typing_extensions import override

from cxr.bundles.manifest import Calibration, Normalisation
from cxr.networks.network import Network

PROBE_PX = 64
"""Side of the image that shows how large a member's maps and embedding are: the smallest that
every architecture takes."""


class _MemberShape(NamedTuple):
    channels: int
    side: int
    embedding: int


class Ensemble(Network):
    """Networks that were trained apart and answer together.

    The logits are the mean of the members' calibrated logits: after the softmax, the normalised
    geometric mean of their probabilities (Genest, Zidek, "Combining Probability Distributions",
    Statistical Science 1986). Being linear, it lets mirroring and Grad-CAM's gradients through.

    Images come in [0, 1]; each member normalises them itself. Each member's embedding is divided by
    its scale, so that the scope gate does not see the larger alone.
    """

    explain_layer = "stack"

    def __init__(self, members: Sequence[Network]) -> None:
        super().__init__()
        self._shapes = [_probe(member) for member in members]
        finest = max(shape.side for shape in self._shapes)
        self._times = [finest // shape.side for shape in self._shapes]
        self.members = nn.ModuleList(members)
        self.stack = Stack(self._times)
        self.stages = _interleaved([member.stages for member in members])
        self.register_buffer("mean", torch.zeros(len(members)))
        for name in ("std", "temperature", "scale"):
            self.register_buffer(name, torch.ones(len(members)))
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.temperature: torch.Tensor
        self.scale: torch.Tensor

    @torch.no_grad()
    def adopt(
        self, normalisations: Sequence[Normalisation], calibrations: Sequence[Calibration]
    ) -> None:
        """Take over normalisation and temperature of each member."""
        self.mean.copy_(torch.tensor([one.mean for one in normalisations]))
        self.std.copy_(torch.tensor([one.std for one in normalisations]))
        self.temperature.copy_(torch.tensor([one.temperature for one in calibrations]))

    @torch.no_grad()
    def adopt_scales(self, embedding: torch.Tensor) -> None:
        """Scale each member's part of embeddings (N, D) to unit variance."""
        parts = zip(self._parts(embedding), self.scale, strict=True)
        self.scale.copy_(
            torch.stack([(part * scale).var(dim=0).mean().sqrt() for part, scale in parts])
        )

    @override
    def features(self, images: torch.Tensor) -> torch.Tensor:
        normalised = [(images - mean) / std for mean, std in zip(self.mean, self.std, strict=True)]
        return self.stack(
            [m.features(one) for m, one in zip(self._networks, normalised, strict=True)]
        )

    @override
    def embed(self, features: torch.Tensor) -> torch.Tensor:
        own = zip(self._networks, self._own_maps(features), self.scale, strict=True)
        return torch.cat([member.embed(maps) / scale for member, maps, scale in own], dim=1)

    @override
    def class_gradients(self, features: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        gradients = []
        for member, maps, part, times, scale, temperature in zip(
            self._networks,
            self._own_maps(features),
            self._parts(embedding),
            self._times,
            self.scale,
            self.temperature,
            strict=True,
        ):
            own = member.class_gradients(maps, part * scale) / (temperature * len(self._shapes))
            fine = _repeat(own.flatten(1, 2), times) / times**2
            gradients.append(fine.unflatten(1, own.shape[1:3]))
        return torch.cat(gradients, dim=2)

    @override
    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        logits = [
            member.classify(part * scale) / temperature
            for member, part, scale, temperature in zip(
                self._networks, self._parts(embedding), self.scale, self.temperature, strict=True
            )
        ]
        return torch.stack(logits).mean(dim=0)

    @override
    @torch.no_grad()
    def add_to_logits(self, offset: torch.Tensor) -> None:
        for member, temperature in zip(self._networks, self.temperature, strict=True):
            member.add_to_logits(offset * temperature)

    @property
    def _networks(self) -> list[Network]:
        return list(self.members)  # type: ignore[arg-type]  # nn.ModuleList forgets the class

    def _own_maps(self, features: torch.Tensor) -> list[torch.Tensor]:
        stacked = torch.split(features, [shape.channels for shape in self._shapes], dim=1)
        return [
            F.avg_pool2d(maps, times) if times > 1 else maps
            for maps, times in zip(stacked, self._times, strict=True)
        ]

    def _parts(self, embedding: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.split(embedding, [shape.embedding for shape in self._shapes], dim=1)


@torch.no_grad()
def _probe(member: Network) -> _MemberShape:
    was_training = member.training
    member.eval()
    maps = member.features(torch.zeros(1, 1, PROBE_PX, PROBE_PX))
    embedding = member.embed(maps)
    member.train(was_training)
    return _MemberShape(maps.shape[1], maps.shape[2], embedding.shape[1])


def _interleaved(stages: Sequence[Sequence[str]]) -> tuple[str, ...]:
    longest = max(map(len, stages))
    return tuple(
        f"members.{number}.{own[-depth]}"
        for depth in range(longest, 0, -1)
        for number, own in enumerate(stages)
        if depth <= len(own)
    )


class Mirrored(Network):
    """An ensemble member averaged with its mirror image."""

    explain_layer = "stack"

    def __init__(self, body: Network) -> None:
        super().__init__()
        self.body = body
        self.stack = Stack((1, 1))
        self.stages = tuple(f"body.{stage}" for stage in body.stages)

    @override
    def features(self, images: torch.Tensor) -> torch.Tensor:
        mirrored = self.body.features(images.flip(3)).flip(3)
        return self.stack([self.body.features(images), mirrored])

    @override
    def embed(self, features: torch.Tensor) -> torch.Tensor:
        plain, mirrored = features.chunk(2, dim=1)
        return torch.cat([self.body.embed(plain), self.body.embed(mirrored.flip(3))], dim=1)

    @override
    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        plain, mirrored = embedding.chunk(2, dim=1)
        return (self.body.classify(plain) + self.body.classify(mirrored)) / 2.0

    @override
    def class_gradients(self, features: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        (plain, mirrored), (one, other) = features.chunk(2, dim=1), embedding.chunk(2, dim=1)
        flipped = self.body.class_gradients(mirrored.flip(3), other).flip(4)
        return torch.cat([self.body.class_gradients(plain, one), flipped], dim=2) / 2.0

    @override
    def add_to_logits(self, offset: torch.Tensor) -> None:
        self.body.add_to_logits(offset)


class Stack(nn.Module):
    """Maps of several passes, concatenated as channels on the finest grid among them.

    Grad-CAM sums over channels, hence over passes. Coarse maps are repeated ``times``, not
    interpolated: averaging restores them exactly.
    """

    def __init__(self, times: Sequence[int]) -> None:
        super().__init__()
        self._times = tuple(times)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Stack maps (N, C, h, w): (N, sum of C, H, W); ValueError if grids do not align."""
        fine = [_repeat(one, times) for one, times in zip(maps, self._times, strict=True)]
        if len({one.shape[2:] for one in fine}) > 1:
            sides = " and ".join(str(one.shape[2]) for one in maps)
            raise ValueError(f"feature maps of side {sides} do not fit each other at this size")
        return torch.cat(fine, dim=1)


def _repeat(maps: torch.Tensor, times: int) -> torch.Tensor:
    if times == 1:
        return maps
    return maps.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)
