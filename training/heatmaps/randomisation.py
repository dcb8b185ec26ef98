"""Cascading randomisation: does the map depend on what the network has learnt?

Stages get fresh weights one after another, from the classifier down to the input. A method
whose maps stay as they were shows edges of the picture, not what the network learnt.

Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from cxr.bundles.run import Run
from cxr.explain.evidence import Likeness, Randomisation, Randomised
from cxr.explain.grad_cam import GradCam
from cxr.explain.methods import Method
from cxr.networks import build_network
from cxr.networks.served import ServedNetwork
from training.data.samples import Samples
from training.device import Compute
from training.heatmaps import likeness
from training.heatmaps.subject import heatmaps_of
from training.report.bootstrap import estimate_mean

PAIRINGS = 5  # of each image with others, for the reference

Maps: TypeAlias = dict[Method, NDArray[np.float32]]
"""Of each method, shape (N, h, w)."""

Alike: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Rank correlation and structural similarity, each of shape (N,)."""


def cascade(
    served: ServedNetwork, architecture: str, num_classes: int, seed: int
) -> Iterator[tuple[str, ServedNetwork]]:
    """Give the network randomised down to each stage, the classifier first.

    The fresh weights are drawn as they are before a training from scratch, batch norm
    statistics included.

    Args:
        served: Left as it is.
        architecture: Of its network.
        num_classes: Of its network.
        seed: Of the fresh weights.

    Yields:
        The stage reached and a network of its own.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = build_network(architecture, num_classes)
    randomised = copy.deepcopy(served).eval()
    for stage in reversed(fresh.stages):
        source = fresh.get_submodule(stage).state_dict()
        randomised.network.get_submodule(stage).load_state_dict(source)
        yield stage, copy.deepcopy(randomised)


def measure_randomisation(
    run: Run,
    served: ServedNetwork,
    samples: Samples,
    maps: Maps,
    compute: Compute,
    repeats: int,
    seed: int,
    quiet: bool = False,
) -> dict[Method, Randomisation]:
    """Compare maps before and after each stage of the cascade.

    Args:
        run: Whose network it is.
        served: The trained network.
        samples: One image for each patient, explained as the class it is labelled with.
        maps: The trained network's maps of these images.
        compute: Device and precision.
        repeats: Draws of fresh weights, averaged for each image.
        seed: Of the draws and the resampling.
        quiet: Show no progress bar.
    """
    alike: dict[tuple[Method, str], list[Alike]] = {}
    stages = tuple(reversed(served.network.stages))
    for repeat in tqdm(range(repeats), "randomising", disable=quiet):
        drawn = cascade(served, run.architecture, len(run.task.classes), 1000 * seed + repeat)
        for stage, network in drawn:
            explainer = GradCam(network, compute.dtype, compute.device)
            for method, before in maps.items():
                after = heatmaps_of(explainer, samples.pixels, list(samples.labels), method)
                pair = likeness.spearman(before, after), likeness.ssim(before, after)
                alike.setdefault((method, stage), []).append(pair)
    return {
        method: Randomisation(
            stages=tuple(
                Randomised(stage=s, likeness=_likeness(alike[method, s], samples, seed))
                for s in stages
            ),
            reference=_likeness(_pairings(maps[method]), samples, seed),
        )
        for method in maps
    }


def _pairings(maps: NDArray[np.float32]) -> list[Alike]:
    """Likeness of each map to those of other patients."""
    others = [np.roll(maps, shift, axis=0) for shift in range(1, min(PAIRINGS + 1, len(maps)))]
    if not others:
        return [(np.full(1, np.nan), np.full(1, np.nan))]
    return [(likeness.spearman(maps, other), likeness.ssim(maps, other)) for other in others]


def _likeness(pairs: Sequence[Alike], samples: Samples, seed: int) -> Likeness:
    rank, structure = np.mean(np.asarray(pairs), axis=0)
    return Likeness(
        spearman=estimate_mean(rank, samples.patients, seed),
        ssim=estimate_mean(structure, samples.patients, seed),
    )
