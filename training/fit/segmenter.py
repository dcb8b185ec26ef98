"""Find the lungs with a small U-Net.

Source: Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", MICCAI 2015.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn
from typing_extensions import override

from cxr.errors import RunError
from cxr.networks.weights import load_weights

SEGMENTER_NAME = "lungs.safetensors"
SIDE_PX = 112
WIDTHS = (16, 32, 64, 128)
BATCH = 64
LUNGS = 2
SPECK = 0.1  # of the larger lung: smaller parts are none


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (channels_in, channels_out):
        layers += [
            nn.Conv2d(before, channels_out, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class LungSegmenter(nn.Module):
    """A U-Net of four levels. It sees each image with mean 0 and deviation 1."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(_block(a, b) for a, b in pairwise((1, *WIDTHS)))
        self.up = nn.ModuleList(_block(a + b, b) for a, b in pairwise(WIDTHS[::-1]))
        self.last = nn.Conv2d(WIDTHS[0], 1, kernel_size=1)

    @override
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (N, 1, S, S) of images (N, 1, S, S) in [0, 1]; S is a multiple of 8."""
        deviation = images.std(dim=(2, 3), keepdim=True)
        maps = (images - images.mean(dim=(2, 3), keepdim=True)) / (deviation + 0.05)
        passed: list[torch.Tensor] = []
        for depth, block in enumerate(self.down):
            maps = block(F.max_pool2d(maps, 2) if depth else maps)
            passed.append(maps)
        for block, across in zip(self.up, passed[-2::-1], strict=True):
            maps = block(torch.cat([F.interpolate(maps, scale_factor=2), across], dim=1))
        return self.last(maps)


def load_segmenter(folder: Path) -> LungSegmenter:
    """Load a trained segmenter.

    Raises:
        RunError: There is none, or it is damaged.
    """
    path = folder / SEGMENTER_NAME
    if not path.is_file():
        raise RunError(f"No lung segmenter at {folder}: make one with python -m training lungs.")
    network = LungSegmenter()
    load_weights(network, path)
    return network.eval()


def shrunk(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Return model inputs (N, 1, S, S) as the segmenter takes them: (N, 1, 112, 112) in [0, 1]."""
    images = torch.from_numpy(pixels).float().div_(255.0)
    return F.interpolate(images, (SIDE_PX, SIDE_PX), mode="bilinear", antialias=True)


@torch.inference_mode()
def find_lungs(segmenter: LungSegmenter, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Find the lungs in model inputs (N, 1, S, S).

    Returns:
        Masks (N, 1, 112, 112), 0 or 255: the two largest parts, without holes.
    """
    found = np.zeros((len(pixels), 1, SIDE_PX, SIDE_PX), dtype=np.uint8)
    for start in range(0, len(pixels), BATCH):
        logits = segmenter(shrunk(pixels[start : start + BATCH]))
        for place, mask in enumerate((logits[:, 0] > 0).numpy(), start=start):
            found[place, 0] = 255 * _lungs_only(mask)
    return found


def _lungs_only(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts, count = ndimage.label(mask)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    largest = np.argsort(-sizes, kind="stable")[:LUNGS]
    kept = [part + 1 for part in largest if sizes[part] >= SPECK * sizes.max(initial=0)]
    return np.asarray(ndimage.binary_fill_holes(np.isin(parts, kept)))
