"""Several networks as one, whose logits are the mean of theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from cxr.bundles.manifest import Calibration, Normalisation
from cxr.networks.network import Network

PROBE_PX = 64
"""Side of the image that shows how large a member's maps and embedding are: the smallest that
every architecture takes."""


class MemberShape(NamedTuple):
    """Sizes of what a member computes: channels and side of its maps, length of its embedding."""

    channels: int
    side: int
    embedding: int


class Ensemble(Network):
    """Networks that were trained apart and answer together.

    The logits are the mean of the members' calibrated logits (each divided by its temperature).
    After the softmax that is the normalised geometric mean of their calibrated probabilities
    (Genest, Zidek, "Combining Probability Distributions", Statistical Science 1986). It is
    linear in the members' logits, so that averaging over the mirror image and the gradients of
    Grad-CAM go through it as through each member.

    Images come in [0, 1], without normalisation, for each member has its own. Embeddings are put
    one after the other, each divided by its own scale, so that the scope gate's shrunk covariance
    does not see the larger alone.

    Args:
        members: Networks for the same classes, at least two.
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
        """Take over what surrounded each member; the mirrored pass is left to the caller."""
        self.mean.copy_(torch.tensor([one.mean for one in normalisations]))
        self.std.copy_(torch.tensor([one.std for one in normalisations]))
        self.temperature.copy_(torch.tensor([one.temperature for one in calibrations]))

    @torch.no_grad()
    def adopt_scales(self, embedding: torch.Tensor) -> None:
        """Make each member's part vary by 1 of embeddings (N, D) that this network gave."""
        parts = zip(self._parts(embedding), self.scale, strict=True)
        self.scale.copy_(
            torch.stack([(part * scale).var(dim=0).mean().sqrt() for part, scale in parts])
        )

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """The members' maps stacked, of images (N, 1, S, S) in [0, 1]."""
        normalised = [(images - mean) / std for mean, std in zip(self.mean, self.std, strict=True)]
        return self.stack(
            [m.features(one) for m, one in zip(self._networks, normalised, strict=True)]
        )

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """The members' embeddings one after the other, each divided by its scale."""
        stacked = torch.split(features, [shape.channels for shape in self._shapes], dim=1)
        embedded = []
        for member, maps, times, scale in zip(
            self._networks, stacked, self._times, self.scale, strict=True
        ):
            own = F.avg_pool2d(maps, times) if times > 1 else maps
            embedded.append(member.embed(own) / scale)
        return torch.cat(embedded, dim=1)

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Mean of the members' calibrated logits."""
        logits = [
            member.classify(part * scale) / temperature
            for member, part, scale, temperature in zip(
                self._networks, self._parts(embedding), self.scale, self.temperature, strict=True
            )
        ]
        return torch.stack(logits).mean(dim=0)

    @torch.no_grad()
    def add_to_logits(self, offset: torch.Tensor) -> None:
        """Add the offset to every member's calibrated logits."""
        for member, temperature in zip(self._networks, self.temperature, strict=True):
            member.add_to_logits(offset * temperature)

    @property
    def _networks(self) -> list[Network]:
        return list(self.members)  # type: ignore[arg-type]  # nn.ModuleList forgets the class

    def _parts(self, embedding: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.split(embedding, [shape.embedding for shape in self._shapes], dim=1)


@torch.no_grad()
def _probe(member: Network) -> MemberShape:
    was_training = member.training
    member.eval()
    maps = member.features(torch.zeros(1, 1, PROBE_PX, PROBE_PX))
    embedding = member.embed(maps)
    member.train(was_training)
    return MemberShape(maps.shape[1], maps.shape[2], embedding.shape[1])


def _interleaved(stages: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Order the members' stages from the input to the output, the last ones side by side."""
    longest = max(map(len, stages))
    return tuple(
        f"members.{number}.{own[-depth]}"
        for depth in range(longest, 0, -1)
        for number, own in enumerate(stages)
        if depth <= len(own)
    )


class Mirrored(Network):
    """A network whose logits are the mean over the image and its mirror image.

    Where a whole model mirrors, what surrounds it does so. This is for a member of an ensemble
    whose other members do not.

    Args:
        body: The network.
    """

    explain_layer = "stack"

    def __init__(self, body: Network) -> None:
        super().__init__()
        self.body = body
        self.stack = Stack((1, 1))
        self.stages = tuple(f"body.{stage}" for stage in body.stages)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Maps of the image, and of the mirror image turned back."""
        mirrored = self.body.features(images.flip(3)).flip(3)
        return self.stack([self.body.features(images), mirrored])

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """Embedding of the image, then that of the mirror image."""
        plain, mirrored = features.chunk(2, dim=1)
        return torch.cat([self.body.embed(plain), self.body.embed(mirrored.flip(3))], dim=1)

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        """Mean of both logits."""
        plain, mirrored = embedding.chunk(2, dim=1)
        return (self.body.classify(plain) + self.body.classify(mirrored)) / 2.0

    def add_to_logits(self, offset: torch.Tensor) -> None:
        """As the body does."""
        self.body.add_to_logits(offset)


class Stack(nn.Module):
    """Maps of several passes, one behind the other as channels, on the finest grid among them.

    Grad-CAM sums over channels. So the heatmap of the stack is the sum of those of the passes,
    each weighed by what it adds to the logit.

    Args:
        times: How many times as fine as each pass's own grid that grid is. Coarse maps are
            repeated, not interpolated: averaging gives them back exactly.
    """

    def __init__(self, times: Sequence[int]) -> None:
        super().__init__()
        self._times = tuple(times)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Stack maps (N, C, h, w): shape (N, sum of C, H, W).

        Raises:
            ValueError: The image's side is not a multiple of all strides.
        """
        fine = [_repeat(one, times) for one, times in zip(maps, self._times, strict=True)]
        if len({one.shape[2:] for one in fine}) > 1:
            sides = " and ".join(str(one.shape[2]) for one in maps)
            raise ValueError(f"feature maps of side {sides} do not fit each other at this size")
        return torch.cat(fine, dim=1)


def _repeat(maps: torch.Tensor, times: int) -> torch.Tensor:
    if times == 1:
        return maps
    return maps.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)
