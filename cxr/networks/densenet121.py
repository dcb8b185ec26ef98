"""DenseNet-121 on one grey channel."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torchvision
from torch import nn
from typing_extensions import override

from cxr.networks.network import Network


class DenseNet121(Network):
    """torchvision's DenseNet-121 whose first convolution takes one channel.

    The feature maps follow the last batch norm and its ReLU, which is not computed in place:
    Grad-CAM weighs them.

    Source: Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional
    Networks", CVPR 2017.
    """

    explain_layer = "block4"
    classifier = "fc"
    stages = ("stem", "block1", "block2", "block3", "block4", "fc")
    renames = (
        (r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2."),  # of torchvision's older files
        (r"^features\.(conv0|norm0)\.", r"stem.\1."),
        (r"^features\.((?:denseblock|transition)(\d)\.)", r"block\2.\1"),
        (r"^features\.(norm5)\.", r"block4.\1."),
        (r"^classifier\.", "fc."),
    )

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        whole = torchvision.models.densenet121(num_classes=num_classes)
        parts = OrderedDict(whole.features.named_children())
        parts["conv0"] = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(parts["conv0"].weight)
        parts["relu5"] = nn.ReLU()

        def stage(*names: str) -> nn.Sequential:
            return nn.Sequential(OrderedDict((name, parts[name]) for name in names))

        self.stem = stage("conv0", "norm0", "relu0", "pool0")
        self.block1 = stage("denseblock1", "transition1")
        self.block2 = stage("denseblock2", "transition2")
        self.block3 = stage("denseblock3", "transition3")
        self.block4 = stage("denseblock4", "norm5", "relu5")
        self.fc = whole.classifier

    @override
    def features(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.block2(self.block1(self.stem(images)))
        return self.block4(self.block3(maps))  # (N, 1024, S/32, S/32)

    @override
    def embed(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean(dim=(2, 3))

    @override
    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        return self.fc(embedding)
