"""Layout descriptors of many pictures, and of changed copies of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray

from cxr.images.layout import LAYOUT_SIZE, describe_layout
from training.fit.augment import Augmenter

WORKERS = 2  # NumPy holds the interpreter's lock half of the time
CHUNK = 64


def layouts_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Describe model inputs (N, 1, S, S): shape (N, LAYOUT_SIZE)."""
    with ThreadPoolExecutor(WORKERS) as pool:
        found = list(pool.map(describe_layout, pixels))
    return np.stack(found) if found else np.zeros((0, LAYOUT_SIZE), dtype=np.float32)


def changed_copies(
    pixels: NDArray[np.uint8], augmenter: Augmenter, copies: int
) -> NDArray[np.uint8]:
    """Give changed copies of model inputs, shape (copies * N, 1, S, S)."""
    found = []
    for start in range(0, copies * len(pixels), CHUNK):
        chosen = np.arange(start, min(start + CHUNK, copies * len(pixels))) % len(pixels)
        images = augmenter(torch.from_numpy(pixels[chosen]).float().div_(255.0))
        found.append(images.mul_(255.0).round_().to(torch.uint8).numpy())
    return np.concatenate(found) if found else pixels[:0]
