"""Cascading randomisation: does the map depend on what the network has learnt?

Stages get fresh weights one after another, from the classifier down to the input. A method
whose maps stay as they were shows edges of the picture, not what the network learnt.

Source: Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch

from cxr.networks import build_network
from cxr.networks.served import ServedNetwork


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
