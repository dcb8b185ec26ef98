"""ResNet-18 on one grey channel."""

from __future__ import annotations

import torch
from torch import nn
from typing_extensions import override

from cxr.networks.network import Network


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut, under torchvision's names.

    torchvision itself is not imported: it loads compilers that take 200 MB, and who explains needs
    none.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module | None = None
        if stride != 1:
            conv = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(width))

    @override
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return maps (N, width, h / stride, w / stride) of maps (N, channels, h, w)."""
        inner = self.relu(self.bn1(self.conv1(maps)))
        inner = self.bn2(self.conv2(inner))
        # In torchvision's order and in place: exported graphs number what they compute.
        shortcut = maps if self.downsample is None else self.downsample(maps)
        inner += shortcut
        return self.relu(inner)


def _layer(channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(BasicBlock(channels, width, stride), BasicBlock(width, width, 1))


class ResNet18(Network):
    """ResNet-18 whose first convolution takes one channel; weights are named as torchvision's.

    Summing a pretrained stem's weights over colours equals replicating the grey channel, at a third
    of the cost.

    Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    explain_layer = "layer4"
    classifier = "fc"
    stages = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc")

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1, self.layer2 = _layer(64, 64, 1), _layer(64, 128, 2)
        self.layer3, self.layer4 = _layer(128, 256, 2), _layer(256, 512, 2)
        self.fc = nn.Linear(512, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @override
    def features(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(maps))))  # (N, 512, S/32, S/32)

    @override
    def embed(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean(dim=(2, 3))

    @override
    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        return self.fc(embedding)
