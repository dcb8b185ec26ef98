"""Models that are loaded in worker processes, and stand for themselves here."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.bundle import Bundle, reopen_bundle
from service.deadline import Deadline
from service.engines.memory import return_freed_memory
from service.engines.protocol import EngineBuilder, EngineOutput
from service.models.loading import LoadedModel, load_model, rules_of
from service.settings import Settings
from service.workers.pool import WorkerPool
from service.workers.spawning import Spawned

RESIDENTS: dict[str, LoadedModel] = {}
"""In a worker: what was loaded there, by key."""


@dataclass(frozen=True)
class EngineFacts:
    """What a worker tells of the engine it built."""

    name: str
    provider: str
    precision: str
    max_batch: int


def load_here(
    key: str, path: Path, sha256: str, settings: Settings, build_engine: EngineBuilder
) -> EngineFacts:
    """Load a bundle into this process, as every worker does with each model.

    Raises:
        BundleError: It was changed meanwhile.
        CxrError: As :func:`service.models.loading.load_model`.
    """
    bundle = reopen_bundle(path, sha256)
    alone = settings.model_copy(update={"workers": 1})
    RESIDENTS[key] = model = load_model(bundle, alone, build_engine)
    return_freed_memory()
    engine = model.engine
    return EngineFacts(engine.name, engine.provider, engine.precision, engine.max_batch)


def unload_here(key: str) -> None:
    """Let go of what was loaded under a key."""
    RESIDENTS.pop(key, None)


def resident(key: str) -> LoadedModel:
    """Return what was loaded under a key."""
    return RESIDENTS[key]


def resident_engine(key: str) -> Any:
    """Return the engine of what was loaded under a key."""
    return RESIDENTS[key].engine


def run_here(key: str, images: NDArray[np.uint8]) -> EngineOutput:
    """Run model inputs (N, 1, S, S), uint8."""
    return RESIDENTS[key].engine.run(images)


class WorkerEngine:
    """The engines that the workers have of one model; in a worker it is that worker's."""

    runs_on_cores = True

    def __init__(self, key: str, facts: EngineFacts, residents: Residents) -> None:
        self._key = key
        self._residents = residents
        self.name = facts.name
        self.provider = facts.provider
        self.precision = facts.precision
        self.max_batch = facts.max_batch
        self.concurrency = residents.pool.size

    def run(self, images: NDArray[np.uint8]) -> EngineOutput:
        """Run model inputs (N, 1, S, S), uint8. Any thread but the event loop's."""
        return self._residents.wait(partial(run_here, self._key, images))

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the key only."""
        return resident_engine, (self._key,)


@dataclass(frozen=True)
class ResidentModel(LoadedModel):
    """A model that the workers have loaded."""

    key: str = ""
    residents: Residents | None = None

    async def release(self) -> None:
        """Have the workers let go of it."""
        assert self.residents is not None, "it was loaded by one"
        await self.residents.pool.drop(self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the key only."""
        return resident, (self.key,)


def always(settings: Settings) -> bool:
    """Return True."""
    return True


class Residents:
    """Loads models into the workers of a pool, and those of a device into this process.

    A device is fed by one process, which batches what the workers decoded: bytes of files stay with
    these.
    """

    def __init__(
        self,
        pool: WorkerPool,
        build_engine: EngineBuilder,
        deadline_ms: float,
        runs_on_cores: Callable[[Settings], bool] = always,
    ) -> None:
        self.pool = pool
        self._build_engine = build_engine
        self._deadline_ms = deadline_ms
        self._runs_on_cores = runs_on_cores
        self._loop: asyncio.AbstractEventLoop | None = None
        self._numbers = itertools.count()

    def start(self, spawned: Sequence[Spawned]) -> None:
        """Start the workers but for those that were. On the event loop."""
        self._loop = asyncio.get_running_loop()
        self.pool.start(spawned)

    def load(self, bundle: Bundle, settings: Settings) -> LoadedModel:
        """Load a bundle. Any thread but the event loop's; blocks for seconds.

        Raises:
            CxrError: As :func:`service.models.loading.load_model`.
        """
        if not self._runs_on_cores(settings):
            return load_model(bundle, settings, self._build_engine)
        assert self._loop is not None, "the workers were started"
        key = f"{bundle.manifest.name} {next(self._numbers)}"
        path = Path(os.path.abspath(bundle.path))
        job = partial(load_here, key, path, bundle.sha256, settings, self._build_engine)
        facts = asyncio.run_coroutine_threadsafe(
            self.pool.keep(key, job, partial(unload_here, key)), self._loop
        ).result()
        engine = WorkerEngine(key, facts, self)
        rules = rules_of(bundle, settings)
        return ResidentModel(
            bundle, engine, rules, settings.scope == "refuse", key=key, residents=self
        )

    def wait(self, job: Callable[[], Any]) -> Any:
        """Have a job done and wait for it. Any thread but the event loop's."""
        assert self._loop is not None, "the workers were started"
        deadline = Deadline.after_ms(self._deadline_ms)
        return asyncio.run_coroutine_threadsafe(self.pool.run(job, deadline), self._loop).result()
