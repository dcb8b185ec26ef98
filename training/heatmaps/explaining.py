"""Choose images of a split and explain them with a run's network as it is served."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from cxr.bundles.methods import METHODS, Method, current_name
from cxr.data.dataset import LabelledImage
from cxr.errors import DataError, RunError
from cxr.explain.grad_cam import GradCam
from cxr.networks.served import ServedNetwork
from training.device import Compute

BATCH = 64


def method_named(name: str) -> Method:
    """Return the method of that name.

    Raises:
        RunError: It is unknown.
    """
    for method in METHODS:
        if method == current_name(name):
            return method
    raise RunError(f"Unknown method {name!r}: choose one of {', '.join(METHODS)}.")


def methods_named(names: str) -> tuple[Method, ...]:
    """Return the methods of a comma-separated list, or of ``all``.

    Raises:
        RunError: One is unknown.
    """
    if names == "all":
        return METHODS
    return tuple(dict.fromkeys(method_named(name) for name in names.split(",")))


def choose_evenly(images: Sequence[LabelledImage], n: int, seed: int) -> list[LabelledImage]:
    """Choose ``n`` images evenly per class, sorted by class and name.

    The same seed chooses the same ones; a class with too few gives what it has.

    Raises:
        DataError: ``n`` is smaller than the number of classes.
    """
    labels = sorted({image.label for image in images})
    if n < len(labels):
        raise DataError(
            f"--n {n} is too few: each of the {len(labels)} classes needs at least one image."
        )
    rng = np.random.default_rng(seed)
    chosen: list[LabelledImage] = []
    for place, label in enumerate(labels):
        of_class = sorted((i for i in images if i.label == label), key=lambda i: i.name)
        share = n // len(labels) + (place < n % len(labels))
        picked = rng.permutation(len(of_class))[:share]
        chosen += [of_class[i] for i in sorted(picked)]
    return chosen


def heatmaps_of(
    explainer: GradCam, pixels: NDArray[np.uint8], targets: Sequence[int], method: Method
) -> NDArray[np.float32]:
    """Explain model inputs (N, 1, S, S) in batches: (N, h, w), float32."""
    found = [
        explainer.explain(
            pixels[start : start + BATCH],
            targets[start : start + BATCH],
            [method] * len(pixels[start : start + BATCH]),
        ).values
        for start in range(0, len(pixels), BATCH)
    ]
    return np.concatenate(found)


@torch.inference_mode()
def probabilities_as_served(
    served: ServedNetwork, pixels: NDArray[np.uint8], compute: Compute
) -> NDArray[np.float32]:
    """Return probabilities (N, K) of model inputs, mirroring and calibration included."""
    found = []
    for start in range(0, len(pixels), BATCH):
        batch = torch.from_numpy(pixels[start : start + BATCH]).to(compute.device)
        with compute.autocast():
            found.append(served(batch).probabilities.float().cpu())
    return torch.cat(found).numpy()
