"""ResNet-18 on one grey channel."""

from __future__ import annotations

import torch
import torchvision
from torch import nn
from typing_extensions import override

from cxr.networks.network import Network


class ResNet18(Network):
    """torchvision's ResNet-18 whose first convolution takes one channel.

    Summing a pretrained stem's weights over colours equals replicating the grey channel, at a third
    of the cost.

    Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    explain_layer = "layer4"
    classifier = "fc"
    stages = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc")

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        body = torchvision.models.resnet18(num_classes=num_classes)
        self.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.bn1 = body.bn1
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = body.maxpool
        self.layer1, self.layer2 = body.layer1, body.layer2
        self.layer3, self.layer4 = body.layer3, body.layer4
        self.fc = body.fc

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
