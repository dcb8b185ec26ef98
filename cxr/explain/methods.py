"""The ways to weigh feature maps into a heatmap. Needs no PyTorch."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Method: TypeAlias = Literal["gradcam", "gradcam++", "layercam"]
METHODS: tuple[Method, ...] = get_args(Method)
