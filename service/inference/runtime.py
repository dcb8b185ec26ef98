"""All that answers requests, from start to stop."""

from __future__ import annotations

import asyncio

from service.deadline import Deadline
from service.errors import NotReadyError
from service.inference.admission import Admission, Backlog
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
from service.inference.loading import LoadedModel, load_models
from service.inference.models import Models, ServedModel, default_name
from service.inference.observer import BatchObserver, Observer
from service.inference.preparation import Decoder
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
        self.lifecycle = Lifecycle()
        self.pool = CorePool(settings.workers or usable_cores())
        self.decoder = Decoder(self.pool, settings.max_image_pixels)
        self.admission = Admission(settings.max_wait_ms / MS_PER_S)
        self._observer: Observer | None = None
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
        self._observer = self.decoder.observer = observer

    def _batch_observer(self, model: LoadedModel, work: str) -> BatchObserver | None:
        if self._observer is None:
            return None
        return self._observer.batches_of(model.bundle.manifest.name, work)

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
        settings = self.settings
        batcher = Batcher(
            EngineRunner(model.engine, bucket_sizes(model.engine.max_batch)),
            max_batch=model.engine.max_batch,
            batch_window_s=settings.batch_window_ms / MS_PER_S,
            queue_capacity=settings.queue_capacity,
            pool=self.pool if model.engine.runs_on_cores else None,
            observer=self._batch_observer(model, "predict"),
        )
        batcher.start()
        if explainer is None:
            return ServedModel(model, batcher)
        # A run takes tens of milliseconds: company gathers meanwhile, nobody need wait for it.
        explaining = Batcher(
            ExplainRunner(explainer),
            max_batch=settings.explain_max_batch,
            batch_window_s=0.0,
            queue_capacity=settings.explain_queue_capacity,
            observer=self._batch_observer(model, "explain"),
        )
        explaining.start()
        rounding = model.bundle.manifest.rounding_of(model.engine.precision)
        tolerance = explainer.tolerance.widened(rounding)
        return ServedModel(model, batcher, Explaining(explainer, explaining, tolerance))

    def verify_admits(self, served: ServedModel, deadline: Deadline, images: int = 1) -> None:
        """Refuse a request that would be answered too late.

        Args:
            served: The model it asks for.
            deadline: Of the request.
            images: How many it has, as far as is known.

        Raises:
            QueueFullError: The wait would be too long, or the deadline would be missed.
        """
        others: list[Backlog] = [
            model.batcher for model in self.loaded_models if model is not served
        ]
        stages: list[Backlog] = [self.decoder, *others, served.batcher]
        self.admission.verify(stages, deadline, images)

    async def stop(self) -> None:
        """Accept nothing more, finish what was accepted, and end all threads."""
        self.lifecycle.drain()
        for model in self.loaded_models:
            await model.batcher.stop()
            if model.explaining is not None:
                await model.explaining.batcher.stop()
        self.pool.close()
