"""The plain convolutional network of many tutorials."""

from __future__ import annotations

import torch
from torch import nn
from typing_extensions import override

from cxr.networks.dense_head import DenseHead

POOLED_PX = 7
"""Side the last feature maps are averaged to before the fully connected layers."""

EMBEDDING = 128


def _block(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels_out, channels_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )


class SmallCnn(DenseHead):
    """Three blocks of two convolutions; the first has stride 2, a quarter of the cost."""

    explain_layer = "block3"
    stages = ("block1", "block2", "block3", "fc1", "fc2")

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.block1 = _block(1, 32, stride=2)
        self.block2 = _block(32, 64)
        self.block3 = _block(64, 128)
        self.add_head(128, POOLED_PX, EMBEDDING, num_classes)

    @override
    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.block3(self.block2(self.block1(images)))  # (N, 128, S/16, S/16)
