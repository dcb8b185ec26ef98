"""Make the lungs count and nothing else, with lung masks of the training images.

- Everything outside the lungs is replaced, by a grey level or by another image's, with the label
  kept: what is outside tells nothing.
- The lungs are blanked, with every class as likely: without lungs there is no answer.
- The share of the evidence that lies outside the lungs is added to the loss. Evidence is what the
  feature maps contribute to the logits: Grad-CAM's map and gradient times activation.

Sources: Ross, Hughes, Doshi-Velez, "Right for the Right Reasons", IJCAI 2017; Rieger et al.,
"Interpretations are Useful", ICML 2020.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

from training.recipe import LungGuidance

DONOR_P = 0.4
"""Chance that what replaces the outside is another image's."""

BLACK_P = 0.5
LOOSE = 0.05  # of the side: how far beyond the lungs a mask may be drawn, at most
CELL = 1 / 56  # of the side: tolerance at the lungs' border when evidence is judged
FLOOR = 0.05  # of evidence in each cell, or a network without any would be pushed about by noise


class Guided(NamedTuple):
    """Images (N, 1, S, S), what to learn from them (N, K), and their lungs (N, 1, S, S)."""

    images: torch.Tensor
    targets: torch.Tensor
    lungs: torch.Tensor


class Guide:
    """Changes batches, and judges evidence. The generator lives on the CPU."""

    def __init__(self, spec: LungGuidance, generator: torch.Generator) -> None:
        self.spec = spec
        self.generator = generator

    def change(self, batch: Guided) -> Guided:
        """Replace the outside of some images and blank the lungs of others."""
        images, targets, lungs = batch
        n, size = len(images), images.shape[-1]
        reach = int(torch.randint(0, max(1, round(size * LOOSE)), (1,), generator=self.generator))
        inside = widened(lungs, reach)
        drawn = self._uniform(n, images)
        outside = drawn < self.spec.outside_p
        blank = ~outside & (drawn < self.spec.outside_p + self.spec.blank_p)
        level = self._uniform(n, images) * (self._uniform(n, images) >= BLACK_P)
        even = level.expand_as(images)
        donor = images[torch.randperm(n, generator=self.generator).to(images.device)]
        other = torch.where(self._uniform(n, images) < DONOR_P, donor, even)
        mean = images.mean(dim=(2, 3), keepdim=True).expand_as(images)
        filling = torch.where(self._uniform(n, images) < BLACK_P, mean, even)
        without = images * inside + other * (1.0 - inside)
        lungless = images * (1.0 - inside) + filling * inside
        images = torch.where(outside, without, torch.where(blank, lungless, images))
        undecided = torch.full_like(targets, 1.0 / targets.shape[1])
        return Guided(images, torch.where(blank[:, :, 0, 0], undecided, targets), lungs)

    def _uniform(self, n: int, like: torch.Tensor) -> torch.Tensor:
        return torch.rand((n, 1, 1, 1), generator=self.generator).to(like.device)


def share_outside(maps: torch.Tensor, margin: torch.Tensor, lungs: torch.Tensor) -> torch.Tensor:
    """Return the mean share, in [0, 1], of the evidence that lies outside the lungs.

    Args:
        maps: Feature maps (N, C, h, w) that the margin was computed from.
        margin: Shape (N,), the finding's logit less that of its absence.
        lungs: Shape (N, 1, S, S), in [0, 1].
    """
    (gradient,) = torch.autograd.grad(margin.sum(), maps, create_graph=True)
    maps, gradient = maps.float(), gradient.float()
    outside = 1.0 - F.adaptive_avg_pool2d(
        widened(lungs, max(1, round(lungs.shape[-1] * CELL))), (maps.shape[2], maps.shape[3])
    )
    cells = maps.shape[2] * maps.shape[3]
    grad_cam = (gradient.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1, keepdim=True)
    product = (gradient * maps).sum(dim=1, keepdim=True)
    shares = [
        (evidence * outside).sum(dim=(1, 2, 3)) / (evidence.sum(dim=(1, 2, 3)) + FLOOR * cells)
        for evidence in (grad_cam.abs() * cells, product.abs() * cells)
    ]
    return torch.stack(shares).mean()


def widened(lungs: torch.Tensor, reach: int) -> torch.Tensor:
    """Return masks (N, 1, S, S) grown by so many pixels."""
    if not reach:
        return lungs
    side = 2 * reach + 1  # a square is a row of columns: a few times faster than at once
    rows = F.max_pool2d(lungs, (side, 1), stride=1, padding=(reach, 0))
    return F.max_pool2d(rows, (1, side), stride=1, padding=(0, reach))
