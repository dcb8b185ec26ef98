"""Feature maps of several passes as those of one network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Stack(nn.Module):
    """Maps of several passes, one behind the other as channels, on the finest grid among them.

    Grad-CAM sums over channels. So the heatmap of the stack is the sum of those of the passes,
    each weighed by what it adds to the logit.

    Args:
        times: How many times as fine as each pass's own grid that grid is. Coarse maps are
            repeated, not interpolated: averaging gives them back exactly.
    """

    def __init__(self, times: Sequence[int]) -> None:
        super().__init__()
        self._times = tuple(times)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Stack maps (N, C, h, w): shape (N, sum of C, H, W).

        Raises:
            ValueError: The image's side is not a multiple of all strides.
        """
        fine = [_repeat(one, times) for one, times in zip(maps, self._times, strict=True)]
        if len({one.shape[2:] for one in fine}) > 1:
            sides = " and ".join(str(one.shape[2]) for one in maps)
            raise ValueError(f"feature maps of side {sides} do not fit each other at this size")
        return torch.cat(fine, dim=1)


def _repeat(maps: torch.Tensor, times: int) -> torch.Tensor:
    if times == 1:
        return maps
    return maps.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3)
