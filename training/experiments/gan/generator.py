"""The generator of the AC-GAN."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

SEED_PX = 4
"""Side of the first feature maps; every stage doubles it."""

CLASS_WIDTH = 32
"""Numbers that stand for the class beside the noise."""

LAST_CHANNELS = 16

SMOOTH_STAGES = 2
"""So many outer stages enlarge before they convolve: transposed convolutions leave a chequered
pattern there, which a classifier could tell made images by. Inside they cost less and do no harm
(Odena, Dumoulin, Olah, "Deconvolution and Checkerboard Artifacts", Distill 2016)."""

MAX_FACTOR = 8  # the widest stage has this many times the recipe's width


def widths(size_px: int, width: int) -> list[int]:
    """Return the channels at 4, 8, ... size_px / 2 pixels, doubling inwards from ``width``.

    ValueError if the side is not 4 times a power of two, or below 8.
    """
    stages = int(math.log2(size_px / SEED_PX))
    if stages < 1 or SEED_PX << stages != size_px:
        raise ValueError(f"a side of {size_px} px is not {SEED_PX} times a power of two")
    return [width * min(MAX_FACTOR, 2**i) for i in reversed(range(stages))]


class ModulatedNorm(nn.Module):
    """Batch norm whose gain and offset follow from noise and class.

    Source: Chen, Lucic, Houlsby, Gelly, "On Self Modulation for Generative Adversarial Networks",
    ICLR 2019.
    """

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.modulate = nn.Linear(code, 2 * channels)
        nn.init.normal_(self.modulate.weight, std=0.02)
        nn.init.zeros_(self.modulate.bias)

    def forward(self, maps: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """Normalise maps (N, C, h, w) by codes (N, D)."""
        gain, offset = self.modulate(code)[:, :, None, None].chunk(2, dim=1)
        return torch.addcmul(offset, self.norm(maps), 1.0 + gain)


class UpsamplingBlock(nn.Module):
    """Doubles the side: convolution, modulated norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, code: int, smooth: bool) -> None:
        super().__init__()
        self.smooth = smooth
        self.up: nn.Conv2d | nn.ConvTranspose2d
        if smooth:
            self.up = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        else:
            self.up = nn.ConvTranspose2d(channels_in, channels_out, 4, 2, 1, bias=False)
        self.norm = ModulatedNorm(channels_out, code)
        nn.init.normal_(self.up.weight, std=0.02)

    def forward(self, maps: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """Return maps (N, C', 2h, 2w) of maps (N, C, h, w)."""
        if self.smooth:
            maps = F.interpolate(maps, scale_factor=2.0, mode="nearest")
        return F.relu(self.norm(self.up(maps), code))


class Generator(nn.Module):
    """Class-conditional generator in the shape of DCGAN.

    ``size_px`` is 4 times a power of two; ``width``, the channels of the last but one stage, grows
    up to eightfold inside.

    Sources: Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional
    Generative Adversarial Networks", ICLR 2016; Odena, Olah, Shlens, "Conditional Image Synthesis
    with Auxiliary Classifier GANs", ICML 2017.
    """

    def __init__(self, size_px: int, num_classes: int, latent: int, width: int) -> None:
        super().__init__()
        self.latent, self.num_classes = latent, num_classes
        self.classes = nn.Embedding(num_classes, CLASS_WIDTH)
        code = latent + CLASS_WIDTH
        inner = widths(size_px, width)
        self.seed = nn.Linear(code, inner[0] * SEED_PX * SEED_PX)
        self.seed_norm = ModulatedNorm(inner[0], code)
        outer = [*inner[1:], LAST_CHANNELS]
        self.stages = nn.ModuleList(
            UpsamplingBlock(before, after, code, smooth=i >= len(inner) - SMOOTH_STAGES)
            for i, (before, after) in enumerate(zip(inner, outer, strict=True))
        )
        self.picture = nn.Conv2d(LAST_CHANNELS, 1, 3, padding=1)

    def forward(self, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return images (N, 1, S, S) in [-1, 1] for noise (N, Z) and labels (N,)."""
        code = torch.cat([noise, self.classes(labels)], dim=1)
        maps = self.seed(code).unflatten(1, (-1, SEED_PX, SEED_PX))
        maps = F.relu(self.seed_norm(maps.contiguous(memory_format=torch.channels_last), code))
        for stage in self.stages:
            maps = stage(maps, code)
        return torch.tanh(self.picture(maps).float())
