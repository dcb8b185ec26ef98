"""Random changes of appearance, applied to a whole batch of training images.

Each stands for something that differs between hospitals, devices and days: positioning (affine),
exposure (tone), detector and resampling (sharpness, noise), collimation (borders) and devices over
the lungs (cut-out).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from training.recipe import Augmentation

MARKS = 2  # at most, in one image
MARK_SIDE = 0.12  # longest, share of the image's
STROKES = 0.7  # share of a mark's pixels that is painted


class Augmenter:
    """Draws one random change per image.

    Its generator is not torch's global one, so the changes depend only on the seed and the number
    of batches. It lives on the CPU.
    """

    def __init__(self, spec: Augmentation, generator: torch.Generator) -> None:
        self.spec = spec
        self.generator = generator

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return a changed copy of images (N, 1, S, S), float32 in [0, 1]."""
        return self._appearance(self._geometry(images))

    def with_masks(
        self, images: torch.Tensor, masks: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Do the same and move the images' masks (N, 1, S, S) along."""
        both = self._geometry(torch.cat([images, masks], dim=1))
        return self._appearance(both[:, :1]), both[:, 1:]

    def _appearance(self, images: torch.Tensor) -> torch.Tensor:
        images = self._sharpness(images)
        images = self._tone(images)
        images = self._marks(images)
        images = self._borders(images)
        return self._cutout(images).clamp_(0.0, 1.0)

    def _uniform(self, n: int, low: float, high: float, like: torch.Tensor) -> torch.Tensor:
        drawn = torch.rand(n, generator=self.generator) * (high - low) + low
        return drawn.to(like.device)

    def _chance(self, n: int, probability: float, like: torch.Tensor) -> torch.Tensor:
        return (torch.rand(n, generator=self.generator) < probability).to(like.device)

    def _geometry(self, images: torch.Tensor) -> torch.Tensor:
        spec, n = self.spec, len(images)
        angle = self._uniform(n, -spec.rotate_deg, spec.rotate_deg, images) * (math.pi / 180.0)
        # Log-uniform: enlarging by 1.25 is as likely as shrinking by 1/1.25.
        zoom = self._uniform(n, -math.log(spec.scale), math.log(spec.scale), images).exp()
        stretch = (
            self._uniform(n, -math.log(spec.aspect), math.log(spec.aspect), images).exp().sqrt()
        )
        mirror = torch.where(self._chance(n, spec.mirror_p, images), -1.0, 1.0)
        cos, sin = angle.cos() / zoom, angle.sin() / zoom
        theta = torch.zeros(n, 2, 3, device=images.device)
        theta[:, 0, 0] = cos * stretch * mirror
        theta[:, 0, 1] = -sin * stretch
        theta[:, 1, 0] = sin / stretch * mirror
        theta[:, 1, 1] = cos / stretch
        theta[:, :, 2] = torch.stack(
            [self._uniform(n, -spec.shift, spec.shift, images) * 2 for _ in range(2)], dim=1
        )
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="zeros", align_corners=False)

    def _sharpness(self, images: torch.Tensor) -> torch.Tensor:
        if self.spec.sharpness == 0.0:
            return images
        n = len(images)
        amount = self._uniform(n, -self.spec.sharpness, self.spec.sharpness, images)
        amount = amount.view(n, 1, 1, 1)
        axis = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=images.device) / 16.0
        blurred = F.conv2d(F.pad(images, (2, 2, 0, 0), mode="replicate"), axis.view(1, 1, 1, 5))
        blurred = F.conv2d(F.pad(blurred, (0, 0, 2, 2), mode="replicate"), axis.view(1, 1, 5, 1))
        return images + amount * (images - blurred)

    def _tone(self, images: torch.Tensor) -> torch.Tensor:
        spec, n = self.spec, len(images)
        gamma = self._uniform(n, -math.log(spec.gamma), math.log(spec.gamma), images).exp()
        gain = self._uniform(n, -math.log(spec.contrast), math.log(spec.contrast), images).exp()
        offset = self._uniform(n, -spec.brightness, spec.brightness, images)
        noise = self._uniform(n, 0.0, spec.noise, images)
        shape = (n, 1, 1, 1)
        changed = images.clamp(1e-4, 1.0).pow(gamma.view(shape))
        centre = changed.mean(dim=(1, 2, 3), keepdim=True)
        changed = (changed - centre) * gain.view(shape) + centre + offset.view(shape)
        if spec.noise > 0.0:
            grain = torch.randn(images.shape, generator=self.generator).to(images.device)
            changed = changed + grain * noise.view(shape)
        return changed

    def _borders(self, images: torch.Tensor) -> torch.Tensor:
        spec, n, size = self.spec, len(images), images.shape[-1]
        if spec.border_p == 0.0:
            return images
        depth = [self._uniform(n, 0.0, spec.border, images) * size for _ in range(4)]
        chosen = self._chance(n, spec.border_p, images)
        low_y, high_y, low_x, high_x = (torch.where(chosen, d, 0.0).view(n, 1) for d in depth)
        position = torch.arange(size, device=images.device).view(1, size)
        rows = (position >= low_y) & (position < size - high_y)
        columns = (position >= low_x) & (position < size - high_x)
        return images * (rows.view(n, 1, size, 1) & columns.view(n, 1, 1, size))

    def _marks(self, images: torch.Tensor) -> torch.Tensor:
        """Paint blocks of random strokes, bright or dark, as letters and bars are."""
        spec, n, size = self.spec, len(images), images.shape[-1]
        if spec.marks_p == 0.0:
            return images
        position = torch.arange(size, device=images.device).view(1, size)
        for _ in range(MARKS):
            top, left = (self._uniform(n, 0.0, size, images).view(n, 1) for _ in range(2))
            height, width = (
                self._uniform(n, 0.02, MARK_SIDE, images).view(n, 1) * size for _ in range(2)
            )
            inside = ((position >= top) & (position < top + height)).view(n, 1, size, 1)
            inside = inside & ((position >= left) & (position < left + width)).view(n, 1, 1, size)
            strokes = torch.rand((n, 1, size, size), generator=self.generator) < STROKES
            level = self._uniform(n, 0.0, 1.0, images).mul(1.25).clamp(max=1.0).view(n, 1, 1, 1)
            chosen = self._chance(n, spec.marks_p, images).view(n, 1, 1, 1)
            images = torch.where(chosen & inside & strokes.to(images.device), level, images)
        return images

    def _cutout(self, images: torch.Tensor) -> torch.Tensor:
        spec, n, size = self.spec, len(images), images.shape[-1]
        if spec.cutout_p == 0.0:
            return images
        half = self._uniform(n, 0.05, spec.cutout, images).view(n, 1) * size / 2
        centre_y = self._uniform(n, 0.0, size, images).view(n, 1)
        centre_x = self._uniform(n, 0.0, size, images).view(n, 1)
        level = self._uniform(n, 0.0, 1.0, images).view(n, 1, 1, 1)
        chosen = self._chance(n, spec.cutout_p, images).view(n, 1, 1, 1)
        position = torch.arange(size, device=images.device).view(1, size)
        rows = ((position - centre_y).abs() < half).view(n, 1, size, 1)
        columns = ((position - centre_x).abs() < half).view(n, 1, 1, size)
        return torch.where(chosen & rows & columns, level, images)
