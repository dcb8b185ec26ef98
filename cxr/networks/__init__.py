"""Network architectures, by name.

Modules are imported when needed, so that a service needs only the packages of its networks.
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

AND, WITH = "+", "-"
"""Between the members of an ensemble, and before what is around a network."""

MIRRORED = "mirrored"
SVM = {"linear": "svm", "rbf": "svm_rbf"}
"""Name of what is around a network, by kernel."""


def _network_class(architecture: str) -> type[Network]:
    if architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise RunError(f"Unknown architecture {architecture!r}: known ones are {known}.")
    module = import_module(f"{__name__}.{architecture}")
    found: type[Network] = getattr(module, ARCHITECTURES[architecture])
    return found


def build_network(architecture: str, num_classes: int) -> Network:
    """Build a network with fresh weights; RunError if the architecture is unknown."""
    members = architecture.split(AND)
    if len(members) > 1:
        from cxr.networks.ensemble import Ensemble

        return Ensemble([build_network(member, num_classes) for member in members])
    body, _, around = architecture.rpartition(WITH)
    if around == MIRRORED:
        from cxr.networks.ensemble import Mirrored

        return Mirrored(build_network(body, num_classes))
    if around in SVM.values():
        from cxr.networks.svm import Svm

        return Svm(build_network(body, num_classes), radial=around == SVM["rbf"])
    # mypy sees the constructor of nn.Module, which takes anything.
    return _network_class(architecture)(num_classes)
