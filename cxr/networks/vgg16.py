"""VGG-16 on one grey channel."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn
from typing_extensions import override

from cxr.networks.dense_head import DenseHead

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Filters of each convolution, block by block: configuration D of the paper."""

POOLED_PX = 7
HIDDEN = 512

CONVOLUTIONS = tuple(
    f"conv{block}_{number}"
    for block, widths in enumerate(WIDTHS, start=1)
    for number in range(1, len(widths) + 1)
)
TORCHVISION = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
"""Number of each convolution among torchvision's ``features``."""


def _block(number: int, channels: tuple[int, ...]) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, (before, after) in enumerate(pairwise(channels), start=1):
        layer = nn.Conv2d(before, after, kernel_size=3, padding=1)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]  # it has one
        layers[f"conv{number}_{i}"] = layer
        layers[f"relu{number}_{i}"] = nn.ReLU(inplace=True)
    layers[f"pool{number}"] = nn.MaxPool2d(2)
    return nn.Sequential(layers)


class Vgg16(DenseHead):
    """The thirteen convolutions of VGG-16, and a hidden layer of 512.

    Sources: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
    Recognition", ICLR 2015; Parkhi, Vedaldi, Zisserman, "Deep Face Recognition", BMVC 2015.
    """

    explain_layer = "block5"
    stages = ("block1", "block2", "block3", "block4", "block5", "fc1", "fc2")
    renames = (
        *(
            (rf"^features\.{index}\.", f"block{name[4]}.{name}.")
            for name, index in zip(CONVOLUTIONS, TORCHVISION, strict=True)
        ),
        (r"^conv_?(\d)_(\d)\.", r"block\1.conv\1_\2."),
    )

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        before = 1
        for number, widths in enumerate(WIDTHS, start=1):
            self.add_module(f"block{number}", _block(number, (before, *widths)))
            before = widths[-1]
        self.add_head(before, POOLED_PX, HIDDEN, num_classes)

    @override
    def features(self, images: torch.Tensor) -> torch.Tensor:
        for stage in self.stages[: len(WIDTHS)]:
            images = self.get_submodule(stage)(images)
        return images  # (N, 512, S/32, S/32)
