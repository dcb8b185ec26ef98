"""The protocol of engines."""

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
    """Output for one image.

    Attributes:
        logits: Shape (K,), float32, before calibration.
        probabilities: Shape (K,), float32, calibrated.
        embedding: Shape (D,), float32.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32]


@dataclass(frozen=True)
class EngineOutput:
    """Output of one run, row i for image i.

    Attributes:
        logits: Shape (N, K), float32, before calibration.
        probabilities: Shape (N, K), float32, calibrated.
        embedding: Shape (N, D), float32.
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
        """Execution provider in use, under the library's name."""

    @property
    def precision(self) -> str:
        """Number format: ``fp32``, ``bf16``, ``fp16`` or ``int8``."""

    @property
    def concurrency(self) -> int:
        """Number of threads that gain from running at a time."""

    @property
    def max_batch(self) -> int:
        """Largest batch worth running."""

    @property
    def runs_on_cores(self) -> bool:
        """Whether a run takes one core of the CPU."""

    def run(self, images: NDArray[np.uint8]) -> EngineOutput:
        """Run model inputs (N, 1, S, S), uint8. Any thread may call it."""


@runtime_checkable
class StagingEngine(Protocol):
    """An engine with memory from which batches are copied faster."""

    def new_batch(self, size: int) -> NDArray[np.uint8]:
        """Return an array for a batch, shape (size, 1, S, S), uint8."""


EngineBuilder: TypeAlias = Callable[[Bundle, Settings], Engine]
"""Builds the engine of a bundle. Raises StartupError."""
