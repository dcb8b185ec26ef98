"""A small vision transformer on one grey channel."""

from __future__ import annotations

import timm
import torch
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from typing_extensions import override

from cxr.networks.network import Network


class _Tokens(nn.Module):
    def __init__(self, whole: VisionTransformer) -> None:
        super().__init__()
        self.patch_embed = whole.patch_embed
        self.cls_token = whole.cls_token
        self.pos_embed = whole.pos_embed

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return tokens (N, 1 + h * w, C), the class token first."""
        patches = self.patch_embed(images)  # (N, h, w, C)
        positions = resample_abs_pos_embed(
            self.pos_embed, list(patches.shape[1:3]), list(self.patch_embed.grid_size)
        )
        first = self.cls_token.expand(patches.shape[0], -1, -1)
        return torch.cat([first, patches.flatten(1, 2)], dim=1) + positions


class _LastNorm(nn.LayerNorm):
    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return maps (N, C, h, h) of tokens (N, 1 + h * h, C)."""
        patches = super().forward(tokens)[:, 1:]
        side = round(patches.shape[1] ** 0.5)
        return patches.transpose(1, 2).reshape(tokens.shape[0], -1, side, side)


class VitSmall(Network):
    """timm's ViT-S/16: twelve blocks of width 384, and the mean over the patches' tokens.

    The classifier reads patches, not the class token, so that the maps hold all that the answer
    rests on. Images are square, of a multiple of 16 pixels.

    Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021.
    """

    explain_layer = "norm"
    classifier = "fc"
    stages = ("tokens", "blocks", "norm", "fc")
    renames = ((r"^(patch_embed\.|cls_token$|pos_embed$)", r"tokens.\1"), (r"^head\.", "fc."))

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        whole = timm.create_model(
            "vit_small_patch16_224",
            pretrained=False,
            in_chans=1,
            num_classes=0,
            dynamic_img_size=True,
        )
        self.tokens = _Tokens(whole)
        self.blocks = whole.blocks
        for block in self.blocks:
            block.attn.fused_attn = False  # its parts are operators every engine has
        self.norm = _LastNorm(whole.embed_dim, eps=whole.norm.eps)
        self.fc = nn.Linear(whole.embed_dim, num_classes)

    @override
    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(self.blocks(self.tokens(images)))  # (N, 384, S/16, S/16)

    @override
    def embed(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean(dim=(2, 3))

    @override
    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        return self.fc(embedding)
