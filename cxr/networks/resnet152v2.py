"""ResNet-152 V2 on one grey channel."""

from __future__ import annotations

import timm
import torch
from typing_extensions import override

from cxr.networks.dense_head import DenseHead

HIDDEN = 128


class ResNet152V2(DenseHead):
    """timm's pre-activation ResNet-152 with batch norm, and a hidden layer of 128.

    Each of fifty fresh blocks is scaled down, so that sums stay finite while batch norms lack
    statistics, which those of a frozen network never get.

    Sources: He, Zhang, Ren, Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016; De,
    Smith, "Batch Normalization Biases Residual Blocks Towards the Identity Function", NeurIPS 2020.
    """

    explain_layer = "norm"
    stages = ("stem", "stage1", "stage2", "stage3", "stage4", "norm", "fc1", "fc2")
    renames = tuple((rf"^stages\.{i}\.", f"stage{i + 1}.") for i in range(4))

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        whole = timm.create_model("resnetv2_152", pretrained=False, in_chans=1, num_classes=0)
        blocks = [block for stage in whole.stages for block in stage.blocks]
        with torch.no_grad():
            for block in blocks:
                block.conv3.weight /= len(blocks) ** 0.5
        self.stem = whole.stem
        self.stage1, self.stage2, self.stage3, self.stage4 = whole.stages
        self.norm = whole.norm
        self.add_head(whole.num_features, 1, HIDDEN, num_classes)

    @override
    def features(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.stage2(self.stage1(self.stem(images)))
        return self.norm(self.stage4(self.stage3(maps)))  # (N, 2048, S/32, S/32)
