"""Network architectures, by name."""

from __future__ import annotations

from collections.abc import Callable

from cxr.errors import RunError
from cxr.networks.network import Network
from cxr.networks.resnet18 import ResNet18
from cxr.networks.small_cnn import SmallCnn

ARCHITECTURES: dict[str, Callable[[int], Network]] = {
    "resnet18": ResNet18,
    "small_cnn": SmallCnn,
}


def build_network(architecture: str, num_classes: int) -> Network:
    """Build a network with fresh weights.

    Raises:
        RunError: The architecture is not known.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise RunError(f"Unknown architecture {architecture!r}: known ones are {known}.")
    return ARCHITECTURES[architecture](num_classes)
