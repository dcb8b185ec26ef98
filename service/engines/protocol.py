"""What runs a model."""

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
    """One image's part of a run.

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
    """One run's answers, row i for image i.

    Attributes:
        logits: Shape (N, K), float32, before calibration.
        probabilities: Shape (N, K), float32, calibrated.
        embedding: Shape (N, D), float32.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    embedding: NDArray[np.float32]


class Engine(Protocol):
    """Runs one model. ``run`` may be called from ``concurrency`` threads at a time."""

    @property
    def name(self) -> str:
        """Library that runs the model."""

    @property
    def provider(self) -> str:
        """Execution provider in use, by the library's own name."""

    @property
    def precision(self) -> str:
        """Number format it computes in: ``fp32``, ``bf16``, ``fp16`` or ``int8``."""

    @property
    def concurrency(self) -> int:
        """How many threads may call ``run`` at a time to gain anything."""

    @property
    def max_batch(self) -> int:
        """Largest batch worth running."""

    @property
    def runs_on_cores(self) -> bool:
        """Whether a run takes one core, and several may go on at a time from several threads."""

    def run(self, images: NDArray[np.uint8]) -> EngineOutput:
        """Answer for a batch of model inputs, shape (N, 1, S, S), uint8."""


@runtime_checkable
class StagingEngine(Protocol):
    """An engine with memory of its own, from which batches reach its device quicker."""

    def new_batch(self, size: int) -> NDArray[np.uint8]:
        """Give an array to stack a batch in, shape (size, 1, S, S), uint8, of any content."""


EngineBuilder: TypeAlias = Callable[[Bundle, Settings], Engine]
"""Makes the engine of a bundle. Raises StartupError."""
