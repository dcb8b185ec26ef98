"""Engine protocol."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle
from service.settings import Settings


@dataclass(frozen=True)
class OutputRow:
    """Output for one image; float32.

    Attributes:
        logits: Shape (K,), uncalibrated.
        probabilities: Shape (K,), calibrated.
        embedding: Shape (D,).
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32]


@dataclass(frozen=True)
class EngineOutput:
    """Output of one run, row i for image i; float32.

    Attributes:
        logits: Shape (N, K), uncalibrated.
        probabilities: Shape (N, K), calibrated.
        embedding: Shape (N, D).
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32]


class Engine(Protocol):
    """Runs one model."""

    @property
    def name(self) -> str:
        """Library that runs the model."""

    @property
    def provider(self) -> str:
        """Execution provider, under the library's name."""

    @property
    def precision(self) -> str:
        """Number format: ``fp32``, ``bf16``, ``fp16`` or ``int8``."""

    @property
    def concurrency(self) -> int:
        """Threads that gain from concurrency."""

    @property
    def max_batch(self) -> int:
        """Largest batch worth running."""

    @property
    def runs_on_cores(self) -> bool:
        """Whether a run occupies a CPU core."""

    def run(self, images: NDArray[np.uint8]) -> EngineOutput:
        """Run model inputs (N, 1, S, S), uint8. Any thread."""


@runtime_checkable
class StagingEngine(Protocol):
    """An engine whose own memory is copied faster."""

    def new_batch(self, size: int) -> NDArray[np.uint8]:
        """Return a batch array, shape (size, 1, S, S), uint8."""


EngineBuilder: TypeAlias = Callable[[Bundle, Settings], Engine]
"""Builds the engine of a bundle. Raises StartupError."""
