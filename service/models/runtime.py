"""Everything that answers requests, from start to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import Any

from service.engines.machine import usable_cores
from service.engines.protocol import EngineBuilder
from service.errors import BrokenBundleError, NotReadyError, UnknownModelError
from service.explain.elsewhere import ExplainProcess
from service.explain.explaining import ExplainerBuilder
from service.lifecycle import RETRY_DRAINING_S, RETRY_STARTING_S, Lifecycle
from service.models.deployment import Deployment
from service.models.lanes import LaneBuilder
from service.models.loading import Candidate, Loader, LoadModel, load_model
from service.models.models import Models, ServedModel, default_name
from service.models.predictor import Predictor
from service.models.residents import Residents, always
from service.models.shadow import ShadowComparison
from service.models.versions import Versions
from service.models.watcher import Watcher
from service.scheduling.admission import Admission
from service.scheduling.core_pool import CorePool
from service.scheduling.cores import Cores
from service.settings import Settings
from service.telemetry.logs import log_event
from service.telemetry.recorder import EXPLAIN, PREDICT, Recorder
from service.telemetry.timeline import MS_PER_S
from service.workers.pool import WorkerPool
from service.workers.spawning import Spawned

IMAGE_BYTES, BYTES_PER_PIXEL = 256 * 1024 * 1024, 6
"""Memory that one image may take in a process, at least and for each pixel that is accepted."""

HUNG = "Nothing has come back from the cores or an engine for long. Restart the process."


class Runtime:
    """The cores, the models and their state. Belongs to the event loop.

    Args:
        settings: What the operator set.
        build_engine: Builds a bundle's engine.
        build_explainer: Builds a bundle's explainer; None: nothing is explained.
        spawned: Worker processes that were started before.
        runs_on_cores: Whether engines run on CPU cores; those of a device run in this process.
    """

    def __init__(
        self,
        settings: Settings,
        build_engine: EngineBuilder,
        build_explainer: ExplainerBuilder | None = None,
        spawned: Sequence[Spawned] = (),
        runs_on_cores: Callable[[Settings], bool] = always,
    ) -> None:
        self.settings = settings
        self._spawned = spawned
        self._models = Models(settings.stall_s)
        self.lifecycle = Lifecycle(is_stalled=self._models.is_stalled)
        load: LoadModel = partial(load_model, build_engine=build_engine)
        cores = settings.workers or usable_cores()
        self.pool: Cores
        self._residents: Residents | None = None
        if settings.isolation == "processes":
            workers = WorkerPool(
                cores,
                longest_s=settings.stall_s,
                most_bytes=IMAGE_BYTES + BYTES_PER_PIXEL * settings.max_image_pixels,
            )
            self._residents = Residents(workers, build_engine, settings.deadline_ms, runs_on_cores)
            self.pool, load = workers, self._residents.load
        else:
            self.pool = CorePool(cores)
        self.explain_process: ExplainProcess | None = None
        if self._residents is not None and build_explainer is not None:
            self.explain_process = ExplainProcess(settings, build_explainer)
            build_explainer = None
        self._lanes = LaneBuilder(settings, self.pool, self.explain_process)
        self._loader = Loader(settings, load, build_explainer)
        self._is_loaded = False
        self._background: list[asyncio.Task[None]] = []
        self.deployment = Deployment(settings, self._models, self._loader, self._lanes)
        self.shadows = ShadowComparison(settings, self._models, self.pool)
        self.predictor = Predictor(
            self._models,
            self.lifecycle,
            Admission(settings.max_wait_ms / MS_PER_S, self.pool.size),
            settings.max_image_pixels,
            self.shadows.offer if settings.shadow else None,
        )

    @property
    def models(self) -> Models:
        """The served models.

        Raises:
            NotReadyError: They are not loaded yet.
        """
        if not self._is_loaded:
            self.lifecycle.verify_ready()
            raise NotReadyError("The models are being loaded. Try again.", RETRY_STARTING_S)
        return self._models

    @property
    def loaded_models(self) -> list[ServedModel]:
        """Every loaded version, active or not; none at the start."""
        return self._models.held

    @property
    def every_version(self) -> tuple[Versions[ServedModel], ...]:
        """All models with all their versions, loaded or not; none at the start."""
        return self._models.every

    @property
    def worker_pools(self) -> dict[str, WorkerPool]:
        """The worker processes, by what they are for; none where there are threads."""
        pools = {}
        if self._residents is not None:
            pools[PREDICT] = self._residents.pool
        if self.explain_process is not None:
            pools[EXPLAIN] = self.explain_process.pool
        return pools

    def record_to(self, recorder: Recorder) -> None:
        """Record events from now on. To be called before the start."""
        self._lanes.recorder = recorder
        self.shadows.recorder = recorder
        for work, pool in self.worker_pools.items():
            pool.on_ended = partial(recorder.worker_ended, work)

    async def explainers_came(self) -> None:
        """Wait until no explainer is being loaded."""
        await self._lanes.explainers_came()

    async def start(self) -> None:
        """Load the models and become ready, without blocking the loop.

        Raises:
            CxrError: The service cannot start; the message is for its operator.
        """
        if self._residents is not None:
            self._residents.start(self._spawned)
        try:
            tried = await asyncio.to_thread(self._loader.load_newest)
            names = [one.found.name for one in tried if isinstance(one, Candidate)]
            self.deployment.adopt(tried)  # tells what cannot be used
            broken = {one.found.name for one in tried} - set(names)
            self._models.default = default_name(names, self.settings, broken)
            await self.deployment.look()
        except BaseException:
            self.lifecycle.fail()
            raise
        self._is_loaded = True
        # What is loaded now stays: without it the collector has little to look through.
        gc.collect()
        gc.freeze()
        self.lifecycle.become_ready()
        if self.explain_process is not None:  # predictions are there first
            self.explain_process.start()
        self._background = [asyncio.create_task(work) for work in self._background_work()]

    def _background_work(self) -> Iterator[Coroutine[Any, Any, None]]:
        settings = self.settings
        if settings.shadow:
            yield self.shadows.answer()
            yield self._load_shadows()
        if settings.watch_bundles_s:
            yield Watcher(self.deployment, self._models, settings.watch_bundles_s).watch()

    async def _load_shadows(self) -> None:
        for name, number in self.settings.shadow:
            try:
                await self.deployment.load(name, number, activate=False)
            except (UnknownModelError, BrokenBundleError) as error:
                log_event(
                    logging.ERROR,
                    "shadow not loaded",
                    model=name,
                    version=number,
                    reason=str(error),
                )

    def verify_live(self) -> None:
        """Refuse when only another process can help.

        A thread cannot be stopped: one that never comes back from a library, or from a device that
        hangs, is lost, and with the last one the service. A stuck explainer counts, too.

        Raises:
            NotReadyError: The process has to be replaced.
        """
        explaining = (model.explaining for model in self._models.held if model.explaining)
        explaining_s = max((one.running_s for one in explaining), default=0.0)
        if max(self._models.stalled_s, explaining_s) > self.settings.stall_restart_s:
            raise NotReadyError(HUNG, RETRY_DRAINING_S)

    async def stop(self) -> None:
        """Accept nothing more, finish what was accepted, and end all threads."""
        self.lifecycle.drain()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self.shadows.close()
        await self.deployment.stop()
        for pool in self.worker_pools.values():  # they need not let go of anything first
            pool.close()
        for model in self.loaded_models:
            await self._lanes.end(model)
        self._lanes.close()
        self.pool.close()
        if self.explain_process is not None:
            self.explain_process.pool.close()
