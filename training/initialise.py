"""Starting weights: none, ImageNet's, or a file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file

from cxr.errors import RunError
from cxr.networks.network import Network

log = logging.getLogger(__name__)

STEM = "conv1.weight"


@dataclass(frozen=True)
class InitReport:
    """What was taken over.

    Attributes:
        source: For provenance: ``none``, ``imagenet`` or the file's name.
        loaded: Number of tensors taken.
        missing: Names of the network that were not found and keep their fresh values.
        unused: Names of the file that the network does not have, or with another shape.
    """

    source: str
    loaded: int = 0
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def initialise(network: Network, init: str) -> InitReport:
    """Fill a fresh network.

    Args:
        network: With random weights.
        init: ``none``; ``imagenet`` for torchvision's weights (downloaded on first use); or
            the path of a safetensors file, complete or partial. Floating-point tensors of any
            precision are taken. A colour stem is summed over its channels, which on a grey
            picture computes the same.

    Raises:
        RunError: The file is missing or no safetensors file, nothing in it fits, or ImageNet
            weights are not to be had.
    """
    if init == "none":
        return InitReport("none")
    tensors = _imagenet(network) if init == "imagenet" else _read(Path(init))
    own = network.state_dict()
    if STEM in tensors and STEM in own and tensors[STEM].shape[1] == 3 and own[STEM].shape[1] == 1:
        tensors[STEM] = tensors[STEM].float().sum(dim=1, keepdim=True)
    fitting = {
        name: value.to(own[name].dtype)
        for name, value in tensors.items()
        if name in own and own[name].shape == value.shape
    }
    if not fitting:
        raise RunError(f"--init {init}: no tensor fits {type(network).__name__}. Wrong file?")
    network.load_state_dict(fitting, strict=False)
    report = InitReport(
        source=init if init == "imagenet" else Path(init).name,
        loaded=len(fitting),
        missing=tuple(sorted(set(own) - set(fitting))),
        unused=tuple(sorted(set(tensors) - set(fitting))),
    )
    log.info("init: %d of %d tensors from %s", report.loaded, len(own), report.source)
    if report.missing:
        log.info("init: not found, fresh values kept: %s", ", ".join(report.missing))
    if report.unused:
        log.info("init: not used: %s", ", ".join(report.unused))
    return report


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError):
        raise RunError(f"--init {path}: missing, or not a safetensors file.") from None


def _imagenet(network: Network) -> dict[str, torch.Tensor]:
    name = type(network).__name__.lower()
    try:
        weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
        return dict(weights.get_state_dict(progress=True, check_hash=True))
    except (ValueError, KeyError):
        raise RunError(f"--init imagenet: torchvision has no weights for {name}.") from None
    except OSError:
        raise RunError(
            "--init imagenet: the weights could not be downloaded. Without a network, give a "
            "safetensors file (--init FILE) or train from scratch (--init none)."
        ) from None
