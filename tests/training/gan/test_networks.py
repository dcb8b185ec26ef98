"""Generator and discriminator: shapes, conditioning, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cxr.errors import RunError
from tests.training.gan.conftest import CPU
from training.experiments.gan.discriminator import Discriminator
from training.experiments.gan.generator import Generator, widths
from training.experiments.gan.recipe import load_gan_recipe
from training.experiments.gan.sampling import balanced_order, generate, to_unit


@pytest.mark.parametrize(("size", "classes"), [(32, 2), (64, 3)])
def test_shapes_follow_side_and_classes(size: int, classes: int) -> None:
    """Images are of the side asked for, in [-1, 1]; the verdict has one row an image."""
    torch.manual_seed(0)
    images = Generator(size, classes, 8, 4)(torch.randn(5, 8), torch.arange(5) % classes)
    assert images.shape == (5, 1, size, size)
    assert images.abs().max() <= 1.0
    verdict = Discriminator(size, classes, 4)(images)
    assert verdict.realness.shape == (5,)
    assert verdict.logits.shape == (5, classes)


def test_every_parameter_gets_a_gradient() -> None:
    """One adversarial step reaches all of both networks."""
    torch.manual_seed(0)
    generator, discriminator = Generator(32, 3, 8, 4), Discriminator(32, 3, 4)
    labels = torch.arange(8) % 3
    verdict = discriminator(generator(torch.randn(8, 8), labels))
    (F.cross_entropy(verdict.logits, labels) - verdict.realness.mean()).backward()
    for network in (generator, discriminator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_the_class_changes_the_image() -> None:
    """The same noise gives another image for another class, and the same for the same."""
    torch.manual_seed(0)
    generator = Generator(32, 3, 8, 4).eval()
    noise = torch.randn(1, 8).expand(3, 8)
    images = generator(noise, torch.tensor([0, 1, 0]))
    assert torch.allclose(images[0], images[2], atol=1e-6)
    assert (images[0] - images[1]).abs().max() > 1e-3


def test_the_discriminator_sees_a_lack_of_variety() -> None:
    """A batch of one image eight times is judged otherwise than the image among others."""
    torch.manual_seed(0)
    discriminator = Discriminator(32, 3, 4).eval()
    images = torch.rand(8, 1, 32, 32) * 2 - 1
    same = discriminator(images[:1].expand(8, -1, -1, -1)).realness[0]
    among = discriminator(images).realness[0]
    assert (same - among).abs() > 1e-4


def test_a_side_that_stages_cannot_reach_is_refused() -> None:
    """The recipe's reader names the field."""
    assert widths(128, 32) == [256, 256, 128, 64, 32]
    with pytest.raises(ValueError, match="power of two"):
        widths(100, 32)
    with pytest.raises(RunError, match=r"No recipe 'unknown'.*gan128, smoke"):
        load_gan_recipe("unknown")


def test_generated_images_do_not_depend_on_how_many_follow() -> None:
    """More images of a seed begin with the same ones; all use the range of grey levels."""
    torch.manual_seed(0)
    generator = Generator(32, 3, 8, 4)
    few = generate(generator, np.zeros(2, np.int64), 7, CPU)
    many = generate(generator, np.zeros(5, np.int64), 7, CPU)
    assert few.dtype == np.uint8
    assert np.abs(few.astype(int) - many[:2].astype(int)).max() <= 1
    assert not np.array_equal(many[0], many[1])
    assert to_unit(np.array([0, 255], np.uint8)).tolist() == [-1.0, 1.0]


def test_classes_are_shown_equally_often() -> None:
    """Ten of one class and two of the other: six each, and no image of the large class twice."""
    labels = np.array([0] * 10 + [1] * 2)
    order = balanced_order(labels, seed=3)
    assert np.bincount(labels[order]).tolist() == [6, 6]
    assert len(set(order[labels[order] == 0])) == 6
    assert not np.array_equal(order, balanced_order(labels, seed=4))
