"""An engine behind a batcher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cxr.pixels.image import ModelInput
from service.engines.buckets import stack_padded
from service.engines.protocol import Engine, OutputRow, StagingEngine
from service.errors import InferenceFailedError
from service.scheduling.batcher import NOT_FINITE, Run


@dataclass(frozen=True)
class EngineRunner:
    """Lets a batcher run an engine: batches are padded, and a row that is not finite fails alone.

    Attributes:
        engine: The engine.
        buckets: Batch sizes it is run with, in ascending order.
    """

    engine: Engine
    buckets: tuple[int, ...]

    def form(self, payloads: Sequence[ModelInput]) -> Run[OutputRow]:
        """Stack model inputs of shape (1, S, S), uint8."""
        engine = self.engine
        new_batch = engine.new_batch if isinstance(engine, StagingEngine) else None
        batch = stack_padded(payloads, self.buckets, new_batch)
        return partial(self._run, batch, len(payloads))

    def prepare_thread(self) -> None:
        """An engine needs nothing of its thread."""

    def _run(self, batch: NDArray[np.uint8], count: int) -> list[OutputRow | InferenceFailedError]:
        output = self.engine.run(batch)
        rows = map(output.row, range(count))
        return [row if row.is_finite else InferenceFailedError(NOT_FINITE) for row in rows]
