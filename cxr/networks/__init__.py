"""Network architectures, by name.

They are imported when they are built, so that a service needs only the packages of the
networks it serves.
"""

from __future__ import annotations

from importlib import import_module

from cxr.errors import RunError
from cxr.networks.network import Network

ARCHITECTURES = {
    "cnn_bn": "CnnBn",
    "densenet121": "DenseNet121",
    "resnet152v2": "ResNet152V2",
    "resnet18": "ResNet18",
    "small_cnn": "SmallCnn",
    "vgg16": "Vgg16",
    "vit_small": "VitSmall",
}
"""Module below this package, and class in it."""


def network_class(architecture: str) -> type[Network]:
    """Give the class of an architecture.

    Raises:
        RunError: The architecture is not known.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise RunError(f"Unknown architecture {architecture!r}: known ones are {known}.")
    module = import_module(f"{__name__}.{architecture}")
    found: type[Network] = getattr(module, ARCHITECTURES[architecture])
    return found


def build_network(architecture: str, num_classes: int) -> Network:
    """Build a network with fresh weights.

    Raises:
        RunError: The architecture is not known.
    """
    # mypy sees the constructor of nn.Module, which takes anything.
    return network_class(architecture)(num_classes)
