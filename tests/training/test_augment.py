"""Augmentation changes what it should and nothing else."""

from __future__ import annotations

import pytest
import torch

from training.fit.augment import Augmenter
from training.recipe import Augmentation, load_recipe

IMAGES = torch.rand(6, 1, 64, 64, generator=torch.Generator().manual_seed(1))


def augmenter(seed: int = 0, **ranges: float) -> Augmenter:
    return Augmenter(Augmentation(**ranges), torch.Generator().manual_seed(seed))


def test_no_range_means_no_change() -> None:
    """With every range closed the images stay as they are."""
    assert torch.allclose(augmenter()(IMAGES), IMAGES, atol=2e-4)


def test_mirror_alone_mirrors() -> None:
    """A chance of 1 mirrors every image exactly."""
    assert torch.allclose(augmenter(mirror_p=1.0)(IMAGES), IMAGES.flip(3), atol=2e-4)


@pytest.mark.parametrize(
    "ranges",
    [
        {"rotate_deg": 15},
        {"scale": 1.3},
        {"aspect": 1.3},
        {"shift": 0.1},
        {"sharpness": 1.0},
        {"gamma": 1.5},
        {"contrast": 1.5},
        {"brightness": 0.2},
        {"noise": 0.1},
        {"border": 0.2, "border_p": 1.0},
        {"cutout": 0.5, "cutout_p": 1.0},
    ],
    ids=lambda ranges: next(iter(ranges)),
)
def test_each_change_changes_every_image_differently(ranges: dict[str, float]) -> None:
    """One range opened changes each image, by an amount of its own, within [0, 1]."""
    same = IMAGES[:1].expand(6, 1, 64, 64)
    changed = augmenter(**ranges)(same)
    assert changed.shape == same.shape
    assert changed.min() >= 0.0
    assert changed.max() <= 1.0
    assert all(not torch.allclose(image, IMAGES[0], atol=1e-3) for image in changed)
    assert not torch.allclose(changed[0], changed[1], atol=1e-3)


def test_seed_decides() -> None:
    """The same seed gives the same images, another seed others."""
    ranges = load_recipe("resnet18").augmentation.model_dump()
    first, again = augmenter(3, **ranges)(IMAGES), augmenter(3, **ranges)(IMAGES)
    assert torch.equal(first, again)
    assert not torch.equal(first, augmenter(4, **ranges)(IMAGES))


def test_aspect_stretches_one_side_against_the_other() -> None:
    """A centred square becomes a rectangle of about the same area."""
    square = torch.zeros(32, 1, 64, 64)
    square[:, :, 16:48, 16:48] = 1.0
    changed = augmenter(aspect=1.5)(square)
    heights = (changed.amax(dim=3) > 0.5).sum(dim=(1, 2)).float()
    widths = (changed.amax(dim=2) > 0.5).sum(dim=(1, 2)).float()
    ratios = widths / heights
    assert ratios.max() > 1.25
    assert ratios.min() < 0.8
    assert (widths * heights / 1024 - 1).abs().max() < 0.1
