"""Images of a generator, and the order real ones are shown in."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

from training.device import Compute
from training.experiments.gan.generator import Generator

GENERATING_BATCH = 32


def stream_seed(*of: object) -> int:
    """Give a seed that depends on what is named, and on nothing else."""
    return int.from_bytes(hashlib.sha256(repr(of).encode()).digest()[:4])


def balanced_order(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Give an order of as many samples as there are, every class as often as the others.

    Classes alternate; each is dealt out whole before it is shuffled anew, so of a large class
    some are left to another epoch and those of a small one come several times.

    Args:
        labels: Shape (N,).
        seed: Of the shuffle.

    Returns:
        Shape (N,), indices.
    """
    generator = np.random.default_rng(seed)
    classes = np.unique(labels)
    each = -(-len(labels) // len(classes))
    columns = []
    for label in classes:
        members = np.flatnonzero(labels == label)
        rounds = -(-each // len(members))
        dealt = np.concatenate([generator.permutation(members) for _ in range(rounds)])
        columns.append(dealt[:each])
    return np.stack(columns, axis=1).ravel()[: len(labels)]


def to_unit(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Scale model inputs (N, 1, S, S) to [-1, 1], as generator and discriminator take them."""
    return torch.from_numpy(pixels).float().div_(127.5).sub_(1.0)


@torch.inference_mode()
def generate(
    generator: Generator, labels: NDArray[np.int64], seed: int, compute: Compute
) -> NDArray[np.uint8]:
    """Generate one image for each label.

    Args:
        generator: Left in evaluation mode.
        labels: Shape (N,), class indices.
        seed: Of the noise. Which image an index gets does not depend on those after it.
        compute: Device and precision.

    Returns:
        Shape (N, 1, S, S), uint8.
    """
    generator.eval()
    source = torch.Generator().manual_seed(seed)
    noise = torch.stack([torch.randn(generator.latent, generator=source) for _ in labels])
    found = []
    for start in range(0, len(labels), GENERATING_BATCH):
        chosen = slice(start, start + GENERATING_BATCH)
        with compute.autocast():
            images = generator(
                noise[chosen].to(compute.device),
                torch.from_numpy(labels[chosen]).to(compute.device),
            )
        found.append(images.add(1.0).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu())
    return torch.cat(found).numpy()
