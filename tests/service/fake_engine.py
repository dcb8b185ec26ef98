"""An engine that answers with a function of the pixels, and can be slow, fail or give NaN."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle
from service.engines.protocol import EngineOutput
from service.settings import Settings
from tests.service.make_bundle import SLOPE, logits_of, probabilities_of

POISON = 7
"""A model input all of this grey level gets NaN, if the engine is told to."""


@dataclass
class FakeEngine:
    """Answers as the graph of the test bundle does.

    Attributes:
        max_batch: Images of a run: those of the settings.
        gate: The engine waits for it before each run: cleared, it is as slow as a test likes.
        entered: Released once for each run that has begun.
        fails: Raise instead of answering.
        poisoned: Answer NaN for inputs of the grey level ``POISON``.
        batches: Sizes of the batches run.
        runs_on_cores: Run on the pool's threads instead of one of its own.
        slope: Of the graph it stands for.
    """

    name = "fake"
    provider = "FakeProvider"
    precision = "fp32"
    concurrency = 1

    max_batch: int = 4
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    fails: bool = False
    poisoned: bool = False
    batches: list[int] = field(default_factory=list)
    runs_on_cores: bool = False
    slope: float = SLOPE

    def __post_init__(self) -> None:
        self.gate.set()

    def run(self, images: NDArray[np.uint8]) -> EngineOutput:
        """Answer as ``Engine.run`` does."""
        self.entered.release()
        assert self.gate.wait(timeout=20), "the test never opened the gate"
        self.batches.append(len(images))
        if self.fails:
            raise RuntimeError("secret of the engine")
        logits, probabilities = logits_of(images, self.slope), probabilities_of(images, self.slope)
        if self.poisoned:
            probabilities[(images == POISON).all(axis=(1, 2, 3))] = np.nan
        return EngineOutput(logits, probabilities, logits)

    def forget(self) -> None:
        """Forget the runs there were, those of the warm-up for instance."""
        self.batches.clear()
        self.entered = threading.Semaphore(0)

    def build(self, bundle: Bundle, settings: Settings) -> FakeEngine:
        """Stand in for an engine builder."""
        self.max_batch = settings.max_batch
        return self
