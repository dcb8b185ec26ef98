"""What Grad-CAM costs in forward passes of the same network in the same precision.

They are run alternately, so that a busy machine slows both.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypedDict

import numpy as np
import torch

from cxr.bundles.bundle import open_bundle
from cxr.explain.grad_cam import GradCam
from cxr.networks.served import ServedNetwork, served_network

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
BATCHES = (1, 4)
WARM_UP = 3


def forward_pass(
    served: ServedNetwork, images: np.ndarray, dtype: torch.dtype, *, bare: bool
) -> Callable[[], object]:
    """Give the pass an explanation is measured against.

    It is built as favourably as the explanation's own: channels last, weights in ``dtype``, no
    gradients. ``bare`` runs the network once, without the mirrored pass that is served.
    """
    network = copy.deepcopy(served.network).to(dtype=dtype).to(memory_format=torch.channels_last)
    pixels = torch.from_numpy(images)

    def run() -> object:
        with torch.inference_mode():
            normalised = served.normalise(pixels)
            views = [normalised, normalised.flip(3)] if served.mirror and not bare else [normalised]
            return [
                network(view.to(dtype).contiguous(memory_format=torch.channels_last)).float()
                for view in views
            ]

    return run


def measure_alternately(
    tasks: dict[str, Callable[[], object]], seconds: float
) -> dict[str, list[float]]:
    """Run the tasks in turn and give the milliseconds of each run."""
    for task in tasks.values():
        for _ in range(WARM_UP):
            task()
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, task in tasks.items():
            started = time.perf_counter()
            task()
            taken[name].append((time.perf_counter() - started) * 1000)
    return taken


class Cost(TypedDict):
    """Grad-CAM beside forward passes: medians in milliseconds, ratios of neighbouring runs."""

    precision: str
    batch: int
    explain_ms: float
    served_ratio: float
    bare_ratio: float


def measure_cost(bundle_path: Path, seconds: float, threads: int = 1) -> list[Cost]:
    """Measure Grad-CAM on a bundle's network in each precision and batch size.

    Args:
        bundle_path: The bundle.
        seconds: Of each measurement.
        threads: PyTorch's.
    """
    torch.set_num_threads(threads)
    bundle = open_bundle(bundle_path)
    served = served_network(bundle.weights_path, bundle.manifest)
    size = bundle.manifest.preprocessing.size_px
    costs: list[Cost] = []
    for precision, dtype in DTYPES.items():
        grad_cam = GradCam(served, dtype)
        for batch in BATCHES:
            images = np.random.default_rng(0).integers(
                0, 256, (batch, 1, size, size), dtype=np.uint8
            )
            tasks: dict[str, Callable[[], object]] = {
                "served": forward_pass(served, images, dtype, bare=False),
                "explain": partial(grad_cam.explain, images, [1] * batch, ["gradcam"] * batch),
                "bare": forward_pass(served, images, dtype, bare=True),
            }
            taken = measure_alternately(tasks, seconds)
            # Of neighbouring runs, so that what slows the machine slows both.
            ratios = {
                name: float(median(np.array(taken["explain"]) / np.array(taken[name])))
                for name in ("served", "bare")
            }
            costs.append(
                {
                    "precision": precision,
                    "batch": batch,
                    "explain_ms": median(taken["explain"]),
                    "served_ratio": ratios["served"],
                    "bare_ratio": ratios["bare"],
                }
            )
    return costs
