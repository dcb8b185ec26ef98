"""Explanations in a process of their own: what they take is no prediction's."""

from __future__ import annotations

import itertools
import logging
import math
import os
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic

import numpy as np

from cxr.bundles.bundle import Bundle, reopen_bundle
from cxr.bundles.manifest import Rounding
from service.deadline import Clock, Deadline
from service.engines.memory import return_freed_memory
from service.engines.protocol import OutputRow
from service.errors import InferenceFailedError, NotReadyError, QueueFullError
from service.explain.explaining import (
    COMING,
    Draw,
    Explainer,
    ExplainerBuilder,
    ExplainTask,
    T,
    Tolerance,
    build_verified,
    verify_finite,
    verify_same_answer,
)
from service.lifecycle import RETRY_STARTING_S
from service.scheduling.admission import MovingMean
from service.scheduling.batch_queue import FULL
from service.scheduling.batcher import ENGINE_FAILED, MAX_RETRY_AFTER_S, SMOOTHING
from service.settings import Settings
from service.telemetry.logs import log_event
from service.telemetry.recorder import EXPLAIN, Recorder
from service.workers.pool import WorkerPool

EXPLAINERS: dict[str, Explainer] = {}
"""In the process: what was loaded there, by key."""


@dataclass(frozen=True)
class ExplainerFacts:
    """What the process tells of an explainer."""

    layer: str
    precision: str
    tolerance: Tolerance


def load_here(
    key: str,
    path: Path,
    sha256: str,
    provider: str,
    settings: Settings,
    build_explainer: ExplainerBuilder,
) -> ExplainerFacts:
    """Load a bundle's explainer into this process.

    Raises:
        BundleError: The bundle was changed meanwhile.
        StartupError: As :func:`service.explain.explaining.build_verified`.
    """
    bundle = reopen_bundle(path, sha256)
    EXPLAINERS[key] = explainer = build_verified(bundle, provider, settings, build_explainer)
    return_freed_memory()
    return ExplainerFacts(explainer.layer, explainer.precision, explainer.tolerance)


def unload_here(key: str) -> None:
    """Let go of what was loaded under a key."""
    EXPLAINERS.pop(key, None)


@dataclass(frozen=True)
class Drawn(Generic[T]):
    """What was drawn, when its job began, and when there was a heatmap."""

    value: T
    begun_s: float
    explained_s: float


def draw_here(
    key: str,
    task: ExplainTask,
    row: OutputRow,
    tolerance: Tolerance,
    draw: Draw[T],
    clock: Clock = time.perf_counter,
) -> Drawn[T]:
    """Explain one answer and draw it, in this process.

    Raises:
        InferenceFailedError: There is no finite heatmap of it.
        ExplanationMismatchError: What was explained is not what was answered.
    """
    begun_s, explainer = clock(), EXPLAINERS[key]
    explainer.prepare_thread()
    try:
        [found] = explainer.explain(task.model_input[np.newaxis], [task.target], [task.method])
    except Exception as error:  # a library's own
        log_event(logging.ERROR, "run failed", error)
        raise InferenceFailedError(ENGINE_FAILED) from None
    explanation = verify_finite(found)
    if isinstance(explanation, InferenceFailedError):
        raise explanation
    verify_same_answer(row, explanation, tolerance)
    explained_s = clock()
    return Drawn(draw(explanation.heatmap), begun_s, explained_s)


class ExplainElsewhere:
    """An explainer in the other process, see :class:`~service.explain.explaining.Explaining`.

    One job explains and draws: neither pixels nor pictures come back in between.
    """

    def __init__(
        self,
        name: str,
        key: str,
        facts: ExplainerFacts,
        tolerance: Tolerance,
        pool: WorkerPool,
        capacity: int,
        recorder: Recorder,
    ) -> None:
        self.layer = facts.layer
        self.precision = facts.precision
        self._name = name
        self._key = key
        self._tolerance = tolerance
        self._pool = pool
        self._capacity = capacity
        self._recorder = recorder
        self._job_s = MovingMean(SMOOTHING)

    @property
    def depth(self) -> int:
        """Number of explanations that have not begun."""
        return self._pool.waiting_of(self._name)

    @property
    def running_s(self) -> float:
        """0: a job that does not end is ended with its process."""
        return 0.0

    def verify_room(self) -> None:
        """Raise QueueFullError or NotReadyError if one more would be refused."""
        if not self._pool.is_ready:
            raise NotReadyError(COMING, RETRY_STARTING_S)
        if self.depth >= self._capacity:
            retry_after_s = math.ceil(self._pool.waiting * self._job_s.value)
            raise QueueFullError(FULL, min(MAX_RETRY_AFTER_S, max(1, retry_after_s)))

    async def explain(
        self, task: ExplainTask, row: OutputRow, draw: Draw[T], deadline: Deadline
    ) -> T:
        """Explain one answer and draw it."""
        self.verify_room()
        accepted_s = time.perf_counter()
        job = partial(draw_here, self._key, task, row, self._tolerance, draw)
        drawn = await self._pool.run(job, deadline, flow=self._name, cost_s=self._job_s.value)
        self._job_s.add(time.perf_counter() - drawn.begun_s)
        waited_s = max(0.0, drawn.begun_s - accepted_s)
        run_s = drawn.explained_s - drawn.begun_s
        self._recorder.batch_ran(self._name, EXPLAIN, (waited_s,), run_s)
        return drawn.value

    async def stop(self) -> None:
        """Have the other process let go of the explainer; requests were answered before."""
        await self._pool.drop(self._key)


class ExplainProcess:
    """Starts the process, and loads explainers into it. Belongs to the event loop."""

    def __init__(self, settings: Settings, build_explainer: ExplainerBuilder) -> None:
        self._settings = settings
        self._build_explainer = build_explainer
        self._numbers = itertools.count()
        # Its jobs take as long as predictions leave it nothing, and it is slow to start again.
        self.pool = WorkerPool(
            1, longest_s=settings.stall_restart_s, patience_s=math.inf, stands_back=True
        )

    def start(self) -> None:
        """Start the process."""
        self.pool.start()

    async def load(
        self, bundle: Bundle, provider: str, rounding: Rounding, recorder: Recorder
    ) -> ExplainElsewhere:
        """Load the explainer of a bundle whose engine rounds so.

        Raises:
            CxrError: It cannot be loaded, or does not match the goldens.
        """
        name = bundle.manifest.name
        key = f"{name} {next(self._numbers)}"
        path = Path(os.path.abspath(bundle.path))
        chosen = (path, bundle.sha256, provider, self._settings, self._build_explainer)
        facts = await self.pool.keep(
            key, partial(load_here, key, *chosen), partial(unload_here, key)
        )
        tolerance = facts.tolerance.widened(rounding)
        capacity = self._settings.explain_queue_capacity
        return ExplainElsewhere(name, key, facts, tolerance, self.pool, capacity, recorder)
