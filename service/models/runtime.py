"""All that answers requests, from start to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Coroutine, Iterator
from contextlib import AbstractContextManager
from typing import Any

from service.deadline import Deadline
from service.engines.cores import usable_cores
from service.engines.protocol import EngineBuilder
from service.errors import BrokenBundleError, NotReadyError, UnknownModelError
from service.explain.explaining import ExplainerBuilder
from service.lifecycle import RETRY_STARTING_S, Lifecycle
from service.models.deployment import VersionControl
from service.models.loading import Candidate, Loader
from service.models.models import Models, ServedModel, default_name
from service.models.serving import Serving
from service.models.shadow import Shadowing
from service.models.stall import StallWatch
from service.models.versions import Versions
from service.models.watcher import Watcher
from service.scheduling.admission import Admission
from service.scheduling.core_pool import CorePool
from service.settings import Settings
from service.telemetry.logs import log_event
from service.telemetry.observer import Observer
from service.telemetry.stopwatch import MS_PER_S


class Runtime:
    """The decoder, the models and their state. Belongs to the event loop.

    Args:
        settings: The operator's settings.
        build_engine: Makes the engine of a bundle.
        build_explainer: Makes what explains its answers; None serves no explanations.
    """

    def __init__(
        self,
        settings: Settings,
        build_engine: EngineBuilder,
        build_explainer: ExplainerBuilder | None = None,
    ) -> None:
        self.settings = settings
        self.stall = StallWatch(
            lambda: self.loaded_models, settings.stall_s, settings.stall_restart_s
        )
        self.lifecycle = Lifecycle(is_stalled=self.stall.is_stalled)
        self.pool = CorePool(settings.workers or usable_cores())
        self.admission = Admission(settings.max_wait_ms / MS_PER_S, self.pool.threads)
        self._serving = Serving(settings, self.pool)
        self._loader = Loader(settings, build_engine, build_explainer)
        self._models = Models()
        self._is_loaded = False
        self._background: list[asyncio.Task[None]] = []
        self.control = VersionControl(settings, self._models, self._loader, self._serving)
        self.shadowing = Shadowing(settings, self._models, self.pool)

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
    def loaded_models(self) -> tuple[ServedModel, ...]:
        """All that is loaded, other versions than the active ones, too; none at the start."""
        return self._models.held

    @property
    def every_version(self) -> tuple[Versions[ServedModel], ...]:
        """All models with all their versions, loaded or not; none at the start."""
        return self._models.every

    def tell(self, observer: Observer) -> None:
        """Tell somebody what happens from now on. To be called before the start."""
        self._serving.observer = observer
        self.shadowing.observer = observer

    async def start(self) -> None:
        """Load the models and become ready. The loop goes on meanwhile.

        Raises:
            CxrError: The service cannot start; the message is for its operator.
        """
        try:
            tried = await asyncio.to_thread(self._loader.load_newest)
            names = [one.found.name for one in tried if isinstance(one, Candidate)]
            self.control.adopt(tried)  # tells what cannot be used
            broken = {one.found.name for one in tried} - set(names)
            self._models.default = default_name(names, self.settings, broken)
            await self.control.look()
        except BaseException:
            self.lifecycle.fail()
            raise
        self._is_loaded = True
        # What is loaded now stays: without it the collector has little to look through.
        gc.collect()
        gc.freeze()
        self.lifecycle.become_ready()
        self._background = [asyncio.create_task(work) for work in self._background_work()]

    def _background_work(self) -> Iterator[Coroutine[Any, Any, None]]:
        settings = self.settings
        if settings.shadows:
            yield self.shadowing.answer()
            yield self._load_shadows()
        if settings.watch_bundles_s:
            yield Watcher(self.control, self._models, settings.watch_bundles_s).watch()

    async def _load_shadows(self) -> None:
        for name, number in self.settings.shadows:
            try:
                await self.control.load(name, number, activate=False)
            except (UnknownModelError, BrokenBundleError) as error:
                log_event(
                    logging.ERROR,
                    "shadow not loaded",
                    model=name,
                    version=number,
                    reason=str(error),
                )

    def verify_admits(self, served: ServedModel, deadline: Deadline, images: int = 1) -> None:
        """Refuse a request that has no room or would be answered too late.

        Args:
            served: The model it asks for.
            deadline: Of the request.
            images: How many it has, as far as is known.

        Raises:
            QueueFullError: There is no room, the wait would be too long, or the deadline would
                be missed.
        """
        served.verify_room(images)
        others = [model.lane.load for model in self.loaded_models if model is not served]
        self.admission.verify(served.lane.load, others, deadline, images)

    def arriving(self, served: ServedModel) -> AbstractContextManager[None]:
        """Count a request among the work ahead while its body is read."""
        return served.lane.load.expect(self.admission.max_wait_s)

    async def stop(self) -> None:
        """Accept nothing more, finish what was accepted, and end all threads."""
        self.lifecycle.drain()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self.shadowing.close()
        await self.control.stop()
        for model in self.loaded_models:
            await self._serving.end(model)
        self.pool.close()
