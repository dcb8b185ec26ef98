"""The discriminator of the AC-GAN."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from training.experiments.gan.generator import SEED_PX, widths

LEAK = 0.2
SPREAD_GROUP = 8
"""Images over which the spread is taken that tells the discriminator of a lack of variety."""


class DiscriminatorOutput(NamedTuple):
    """Realness (N,), high for real images, and class logits (N, K)."""

    realness: torch.Tensor
    logits: torch.Tensor


def _spread(maps: torch.Tensor) -> torch.Tensor:
    """Source: Karras, Aila, Laine, Lehtinen, "Progressive Growing of GANs", ICLR 2018."""
    n, _, height, width = maps.shape
    group = SPREAD_GROUP if n % SPREAD_GROUP == 0 else n
    grouped = maps.float().reshape(n // group, group, -1)
    deviation = (grouped.var(dim=1, unbiased=False) + 1e-8).sqrt().mean(dim=1)
    deviation = deviation.repeat_interleave(group).view(n, 1, 1, 1)
    return torch.cat([maps, deviation.to(maps.dtype).expand(n, 1, height, width)], dim=1)


class Discriminator(nn.Module):
    """Strided convolutions under spectral normalisation, and two heads.

    ``size_px`` is 4 times a power of two; ``width``, the channels of the first convolution, grows
    up to eightfold inside.

    Sources: Odena, Olah, Shlens (ICML 2017) for the auxiliary classifier; Miyato, Kataoka, Koyama,
    Yoshida, "Spectral Normalization for Generative Adversarial Networks", ICLR 2018.
    """

    def __init__(self, size_px: int, num_classes: int, width: int) -> None:
        super().__init__()
        channels = [1, *reversed(widths(size_px, width))]
        self.convolutions = nn.ModuleList(
            spectral_norm(nn.Conv2d(before, after, 4, 2, 1)) for before, after in pairwise(channels)
        )
        last = channels[-1]
        self.mix = spectral_norm(nn.Conv2d(last + 1, last, 3, padding=1))
        flat = last * SEED_PX * SEED_PX
        self.real = spectral_norm(nn.Linear(flat, 1))
        self.auxiliary = nn.Linear(flat, num_classes)

    def forward(self, images: torch.Tensor) -> DiscriminatorOutput:
        """Judge images (N, 1, S, S) in [-1, 1]."""
        maps = images
        for convolution in self.convolutions:
            maps = F.leaky_relu(convolution(maps), LEAK)
        flat = F.leaky_relu(self.mix(_spread(maps)), LEAK).flatten(1)
        return DiscriminatorOutput(self.real(flat).float().squeeze(1), self.auxiliary(flat).float())
