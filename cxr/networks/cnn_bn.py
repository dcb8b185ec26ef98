"""The batch-norm network of published student projects."""

from __future__ import annotations

import torch
from torch import nn
from typing_extensions import override

from cxr.networks.dense_head import DenseHead

POOLED_PX = 7
HIDDEN = 512


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )


class CnnBn(DenseHead):
    """Four blocks of convolution, batch norm and max pooling, then a hidden layer of 512."""

    explain_layer = "block4"
    stages = ("block1", "block2", "block3", "block4", "fc1", "fc2")

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.block1 = _block(1, 32)
        self.block2 = _block(32, 64)
        self.block3 = _block(64, 128)
        self.block4 = _block(128, 128)
        self.add_head(128, POOLED_PX, HIDDEN, num_classes)

    @override
    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.block4(self.block3(self.block2(self.block1(images))))  # (N, 128, S/16, S/16)
