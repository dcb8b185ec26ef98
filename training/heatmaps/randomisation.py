"""Cascading randomisation: do the maps depend on what the network learnt?

Stages get fresh weights one after another, from the classifier to the input. Maps that stay the
same show edges of the picture only.

Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, stats
from tqdm import tqdm

from cxr.bundles.methods import Method
from cxr.bundles.run import Run
from cxr.explain.evidence import Likeness, Randomisation, Randomised
from cxr.explain.grad_cam import GradCam
from cxr.networks import build_network
from cxr.networks.served import ServedNetwork
from training.data.samples import Samples
from training.device import Compute
from training.heatmaps.explaining import heatmaps_of
from training.report.bootstrap import estimate_mean

PAIRINGS = 5  # of each image with others, for the reference

Maps: TypeAlias = dict[Method, NDArray[np.float32]]
"""Of each method, shape (N, h, w)."""

Alike: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Rank correlation and structural similarity, each of shape (N,)."""


def cascade(
    served: ServedNetwork, architecture: str, num_classes: int, seed: int
) -> Iterator[tuple[str, ServedNetwork]]:
    """Yield each stage's name and a network randomised down to it, the classifier first.

    Fresh weights are drawn as for training from scratch, batch norm statistics included. ``served``
    is left as it is.
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
    """Compare maps before and after each stage of the cascade."""
    alike: dict[tuple[Method, str], list[Alike]] = {}
    stages = tuple(reversed(served.network.stages))
    for repeat in tqdm(range(repeats), "randomising", disable=quiet):
        drawn = cascade(served, run.architecture, len(run.task.classes), 1000 * seed + repeat)
        for stage, network in drawn:
            explainer = GradCam(network, compute.dtype, compute.device)
            for method, before in maps.items():
                after = heatmaps_of(explainer, samples.pixels, list(samples.labels), method)
                pair = spearman(before, after), ssim(before, after)
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
    others = [np.roll(maps, shift, axis=0) for shift in range(1, min(PAIRINGS + 1, len(maps)))]
    if not others:
        return [(np.full(1, np.nan), np.full(1, np.nan))]
    return [(spearman(maps, other), ssim(maps, other)) for other in others]


def _likeness(pairs: Sequence[Alike], samples: Samples, seed: int) -> Likeness:
    rank, structure = np.mean(np.asarray(pairs), axis=0)
    return Likeness(
        spearman=estimate_mean(rank, samples.patients, seed),
        ssim=estimate_mean(structure, samples.patients, seed),
    )


SSIM_SIDE = 56  # maps are compared as they are looked at, enlarged; 8 times 7 x 7
SSIM_SIGMA = 1.5 * SSIM_SIDE / 28  # of the window: about one cell of the coarsest map
C1, C2 = 0.01**2, 0.03**2  # the constants of Wang et al. for values in [0, 1]


def spearman(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the rank correlation of each pair of maps (N, h, w): (N,), in [-1, 1].

    It is 0 if either map is constant, because that orders nothing.
    """
    a, b = _centred_ranks(first), _centred_ranks(second)
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.divide((a * b).sum(axis=1), norm, out=np.zeros_like(norm), where=norm > 0)


def _centred_ranks(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    ranks = stats.rankdata(maps.reshape(len(maps), -1), axis=1)
    return ranks - ranks.mean(axis=1, keepdims=True)


def ssim(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the structural similarity of each pair of maps in [0, 1]: (N,).

    Source: Wang, Bovik, Sheikh, Simoncelli, "Image Quality Assessment: From Error Visibility to
    Structural Similarity", IEEE TIP 2004; Gaussian window.
    """
    a, b = _enlarged(first), _enlarged(second)
    mean_a, mean_b = _window(a), _window(b)
    var_a, var_b = _window(a * a) - mean_a**2, _window(b * b) - mean_b**2
    covariance = _window(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    structure = (2 * covariance + C2) / (var_a + var_b + C2)
    return (luminance * structure).mean(axis=(1, 2))


def _enlarged(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    side = (SSIM_SIDE, SSIM_SIDE)
    return np.stack(
        [
            np.asarray(Image.fromarray(m).resize(side, Image.Resampling.BILINEAR), np.float64)
            for m in np.ascontiguousarray(maps, dtype=np.float32)
        ]
    )


def _window(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    return ndimage.gaussian_filter(maps, (0, SSIM_SIGMA, SSIM_SIGMA))
