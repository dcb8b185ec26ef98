"""The device and precision of computations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from cxr.errors import RunError
from cxr.networks.served import has_fast_bf16

NetworkT = TypeVar("NetworkT", bound=nn.Module)


@dataclass(frozen=True)
class Compute:
    """A device with its fastest safe precision.

    Attributes:
        device: CPU or a CUDA device.
    """

    device: torch.device
    dtype: torch.dtype

    @property
    def exact(self) -> Compute:
        """The same device in float32, as models are served, for calibration and reports."""
        return Compute(self.device, torch.float32)

    def autocast(self) -> torch.autocast:
        """Return the context of a forward pass."""
        return torch.autocast(
            self.device.type,
            dtype=self.dtype if self.dtype != torch.float32 else None,
            enabled=self.dtype != torch.float32,
        )

    def place(self, network: NetworkT) -> NetworkT:
        """Move a network to the device in the channels-last layout."""
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def put(self, images: torch.Tensor) -> torch.Tensor:
        """Move a batch to the device in the channels-last layout."""
        return images.to(self.device).contiguous(memory_format=torch.channels_last)


def choose_compute(name: str, local_rank: int = 0) -> Compute:
    """Choose device and precision.

    Args:
        name: ``auto``, ``cpu`` or ``cuda``.
        local_rank: Index of the CUDA device.

    Raises:
        RunError: The name is unknown, or CUDA is not available.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise RunError(f"Unknown device {name!r}: give auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise RunError("--device cuda: PyTorch finds no CUDA device here. Use --device auto.")
    if name == "cpu" or not torch.cuda.is_available():
        return Compute(torch.device("cpu"), torch.bfloat16 if has_fast_bf16() else torch.float32)
    bf16 = torch.cuda.is_bf16_supported()
    return Compute(torch.device("cuda", local_rank), torch.bfloat16 if bf16 else torch.float16)
