"""Explanations on threads of this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from service.deadline import Deadline
from service.engines.protocol import OutputRow
from service.errors import InferenceFailedError
from service.explain.explaining import (
    Draw,
    Explainer,
    ExplainTask,
    Explanation,
    T,
    Tolerance,
    verify_finite,
    verify_same_answer,
)
from service.explain.pictures import Renderer
from service.scheduling.batcher import Batcher, Run


@dataclass(frozen=True)
class ExplainRunner:
    """Runs an explainer behind a batcher; non-finite explanations fail alone."""

    explainer: Explainer

    def form(self, payloads: Sequence[ExplainTask]) -> Run[Explanation]:
        """Stack the model inputs."""
        images = np.stack([task.model_input for task in payloads])
        targets = [task.target for task in payloads]
        methods = [task.method for task in payloads]

        def run() -> list[Explanation | InferenceFailedError]:
            return list(map(verify_finite, self.explainer.explain(images, targets, methods)))

        return run

    def prepare_thread(self) -> None:
        """Prepare the batcher's thread."""
        self.explainer.prepare_thread()


class ExplainHere:
    """An explainer behind a batcher, see :class:`~service.explain.explaining.Explaining`."""

    def __init__(
        self,
        explainer: Explainer,
        batcher: Batcher[ExplainTask, Explanation],
        renderer: Renderer,
        tolerance: Tolerance,
    ) -> None:
        self.layer = explainer.layer
        self.precision = explainer.precision
        self._batcher = batcher
        self._renderer = renderer
        self._tolerance = tolerance

    @property
    def depth(self) -> int:
        """Number of explanations that have not begun."""
        return self._batcher.depth

    @property
    def running_s(self) -> float:
        """Seconds since the current run began; 0 between runs."""
        return self._batcher.running_s

    def verify_room(self) -> None:
        """Raise QueueFullError if one more would be refused."""
        self._batcher.verify_room(1)
        self._renderer.verify_room()

    async def explain(
        self, task: ExplainTask, row: OutputRow, draw: Draw[T], deadline: Deadline
    ) -> T:
        """Explain one answer and draw it."""
        [future] = self._batcher.submit([task], deadline)
        explanation = (await future).row
        verify_same_answer(row, explanation, self._tolerance)
        return await self._renderer.render(partial(draw, explanation.heatmap), deadline)

    async def stop(self) -> None:
        """Finish what was accepted."""
        await self._batcher.stop()
