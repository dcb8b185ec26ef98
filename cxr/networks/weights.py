"""Network weights in safetensors files."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from cxr.errors import RunError


def save_weights(network: nn.Module, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a network's weights, matrices in ``dtype``.

    Vectors and buffers stay float32: batch norm's statistics may exceed float16.
    """
    tensors = {}
    learnt = {name for name, _ in network.named_parameters()}
    for name, tensor in network.state_dict().items():
        value = tensor.detach().cpu().contiguous()
        tensors[name] = value.to(dtype) if name in learnt and value.ndim > 1 else value
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors makes it private


def load_weights(network: nn.Module, path: Path) -> None:
    """Fill a network in float32; RunError if the file is damaged or another network's."""
    try:
        tensors = load_file(path)
        network.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
        )
    except (SafetensorError, RuntimeError, OSError):
        raise RunError(
            f"{path.name} does not hold the weights of {type(network).__name__}, or is damaged."
        ) from None
