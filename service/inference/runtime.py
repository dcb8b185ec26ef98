"""All that answers requests, from start to stop."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AbstractContextManager

from service.deadline import Deadline
from service.errors import NotReadyError
from service.inference.admission import Admission
from service.inference.batcher import Batcher
from service.inference.buckets import bucket_sizes
from service.inference.core_pool import CorePool
from service.inference.cores import usable_cores
from service.inference.engine import EngineBuilder, EngineRunner
from service.inference.explaining import (
    Explainer,
    ExplainerBuilder,
    Explaining,
    ExplainRunner,
    load_explainer,
)
from service.inference.lane import CoreLane, DeviceLane, Lane
from service.inference.load import Load
from service.inference.loading import LoadedModel, load_models
from service.inference.models import Models, ServedModel, default_name
from service.inference.observer import EXPLAIN, PREDICT, UNOBSERVED, Observer
from service.inference.stall import StallWatch
from service.lifecycle import RETRY_STARTING_S, Lifecycle
from service.settings import Settings
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
        self._observer: Observer = UNOBSERVED
        self._build_engine = build_engine
        self._build_explainer = build_explainer
        self._models: Models | None = None

    @property
    def models(self) -> Models:
        """The served models.

        Raises:
            NotReadyError: They are not loaded yet.
        """
        if self._models is None:
            self.lifecycle.verify_ready()
            raise NotReadyError("The models are being loaded. Try again.", RETRY_STARTING_S)
        return self._models

    @property
    def loaded_models(self) -> tuple[ServedModel, ...]:
        """The served models, none while they are being loaded."""
        return () if self._models is None else tuple(self._models)

    def tell(self, observer: Observer) -> None:
        """Tell somebody what happens from now on. To be called before the start."""
        self._observer = observer

    async def start(self) -> None:
        """Load the models and become ready. The loop goes on meanwhile.

        Raises:
            CxrError: The service cannot start; the message is for its operator.
        """
        try:
            loaded = await asyncio.to_thread(load_models, self.settings, self._build_engine)
            default = default_name(list(loaded), self.settings)
            explainers = await asyncio.to_thread(self._load_explainers, loaded)
        except BaseException:
            self.lifecycle.fail()
            raise
        served = {name: self._serve(model, explainers.get(name)) for name, model in loaded.items()}
        self._models = Models(served, default)
        # What is loaded now stays: without it the collector has little to look through.
        gc.collect()
        gc.freeze()
        self.lifecycle.become_ready()

    def _load_explainers(self, loaded: dict[str, LoadedModel]) -> dict[str, Explainer]:
        build = self._build_explainer
        if build is None:
            return {}
        return {
            name: load_explainer(model.bundle, model.engine.provider, self.settings, build)
            for name, model in loaded.items()
        }

    def _serve(self, model: LoadedModel, explainer: Explainer | None) -> ServedModel:
        settings, lane = self.settings, self._lay(model)
        if explainer is None:
            return ServedModel(model, lane)
        # A run takes tens of milliseconds: company gathers meanwhile, nobody need wait for it.
        explaining = Batcher(
            ExplainRunner(explainer),
            max_batch=settings.explain_max_batch,
            batch_window_s=0.0,
            queue_capacity=settings.explain_queue_capacity,
            longest_run_s=settings.stall_s,
            observer=self._observer.batches_of(model.bundle.manifest.name, EXPLAIN),
        )
        explaining.start()
        rounding = model.bundle.manifest.rounding_of(model.engine.precision)
        tolerance = explainer.tolerance.widened(rounding)
        return ServedModel(model, lane, Explaining(explainer, explaining, tolerance))

    def _lay(self, model: LoadedModel) -> Lane:
        settings, engine, name = self.settings, model.engine, model.bundle.manifest.name
        load = Load(settings.queue_capacity + engine.concurrency * engine.max_batch)
        if engine.runs_on_cores:
            return CoreLane(engine, name, self.pool, load, self._observer)
        batcher = Batcher(
            EngineRunner(engine, bucket_sizes(engine.max_batch)),
            max_batch=engine.max_batch,
            batch_window_s=settings.batch_window_ms / MS_PER_S,
            queue_capacity=load.capacity,
            longest_run_s=settings.stall_s,
            observer=self._observer.batches_of(name, PREDICT),
        )
        batcher.start()
        return DeviceLane(name, self.pool, batcher, load, self._observer)

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
        for model in self.loaded_models:
            await model.lane.stop()
            if model.explaining is not None:
                await model.explaining.batcher.stop()
        self.pool.close()
