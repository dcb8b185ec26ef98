"""Starting weights: none, ImageNet's, or a file."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file

from cxr.errors import RunError
from cxr.networks.network import Network

log = logging.getLogger(__name__)

PICKLED = (".pt", ".pth", ".bin")
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training scripts keep the weights beside other things."""

PARALLEL = "module."  # DataParallel's prefix

PIXEL_NAME = re.compile(r"^conv_?1_1\.weight$")
PIXEL_RANGE = 57.0
"""Standard deviation of ImageNet's pixels, 0.225 of 255. VGG-Face was trained on pixels from 0
to 255; ours have a deviation of 1, and its biases are of the former size."""


@dataclass(frozen=True)
class InitReport:
    """What was taken from the source.

    Attributes:
        source: ``none``, ``imagenet`` or the file's name.
    """

    source: str
    loaded: int = 0
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


def initialise(network: Network, init: str) -> InitReport:
    """Load starting weights into a fresh network.

    Args:
        network: Has random weights.
        init: ``none``; ``imagenet`` for torchvision's weights (downloaded on first use); or a file,
            complete or partial: safetensors, or PyTorch's (.pt, .pth, .bin; tensors only, nothing
            in it is run). Names are the network's own or those of :attr:`Network.renames`. A colour
            stem is summed over its channels, which is the same on a grey picture. A classifier of
            another width is left out.

    Raises:
        RunError: The file is missing or unreadable, nothing in it fits, or ImageNet weights are not
            available.
    """
    if init == "none":
        return InitReport("none")
    tensors = _imagenet(network) if init == "imagenet" else _read(Path(init))
    own = network.state_dict()
    fitting, unused = {}, []
    for name, value in tensors.items():
        target = _own_name(name, own, network.renames)
        fitted = _fitted(name, value, own[target]) if target in own else None
        if fitted is None or target in fitting:
            unused.append(name)
        else:
            fitting[target] = fitted
    if not fitting:
        raise RunError(f"--init {init}: no tensor fits {type(network).__name__}. Wrong file?")
    network.load_state_dict(fitting, strict=False)
    report = InitReport(
        source=init if init == "imagenet" else Path(init).name,
        loaded=len(fitting),
        missing=tuple(sorted(set(own) - set(fitting))),
        unused=tuple(sorted(unused)),
    )
    log.info("init: %d of %d tensors from %s", report.loaded, len(own), report.source)
    if report.missing:
        log.info("init: not found, fresh values kept: %s", ", ".join(report.missing))
    if report.unused:
        log.info("init: not used, unknown or of another shape: %s", ", ".join(report.unused))
    return report


def _own_name(name: str, own: Collection[str], renames: Sequence[tuple[str, str]]) -> str:
    name = name.removeprefix(PARALLEL)
    if name in own:
        return name
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def _fitted(name: str, value: torch.Tensor, own: torch.Tensor) -> torch.Tensor | None:
    colours = (*own.shape[:1], 3, *own.shape[2:])
    if own.ndim == 4 and own.shape[1] == 1 and value.shape == colours:
        value = value.float().sum(dim=1, keepdim=True)
        if PIXEL_NAME.match(name.removeprefix(PARALLEL)):
            log.info(
                "init: %s times %g, for it was trained on pixels from 0 to 255", name, PIXEL_RANGE
            )
            value = value * PIXEL_RANGE
    return value.to(own.dtype) if value.shape == own.shape else None


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix in PICKLED:
        return _read_pickled(path)
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError):
        raise RunError(f"--init {path}: missing, or not a safetensors file.") from None


def _read_pickled(path: Path) -> dict[str, torch.Tensor]:
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        raise RunError(f"--init {path}: missing, or not a PyTorch file of tensors only.") from None
    for key in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    items = found.items() if isinstance(found, dict) else ()
    return {str(name): value for name, value in items if isinstance(value, torch.Tensor)}


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
