"""From a loaded version to one that answers requests."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from cxr.bundles.manifest import Rounding
from cxr.errors import CxrError
from service.engines.buckets import bucket_sizes
from service.errors import WorkersEndedError
from service.explain.elsewhere import ExplainProcess
from service.explain.explaining import Explainer, Explaining
from service.explain.here import ExplainHere, ExplainRunner
from service.explain.pictures import Renderer
from service.models.loading import Candidate, LoadedModel
from service.models.models import ServedModel
from service.scheduling.admission import InFlight
from service.scheduling.batcher import Batcher
from service.scheduling.cores import Cores
from service.scheduling.lane import CoreLane, DeviceLane, EngineRunner, Lane
from service.settings import Settings
from service.telemetry.logs import log_event
from service.telemetry.recorder import EXPLAIN, NULL_RECORDER, PREDICT, Recorder
from service.telemetry.timeline import MS_PER_S

RETRY_S = 5.0  # between tries to load an explainer whose process ended at it


class LaneBuilder:
    """Builds lanes to engines and queues in front of explainers. Belongs to the event loop."""

    def __init__(
        self, settings: Settings, pool: Cores, explain_process: ExplainProcess | None = None
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._explain_process = explain_process
        self._renderer = Renderer(settings.explain_threads, settings.explain_queue_capacity)
        self._coming: dict[ServedModel, asyncio.Task[None]] = {}
        self.recorder: Recorder = NULL_RECORDER

    def begin(self, candidate: Candidate) -> ServedModel:
        """Build the lane to a version; nothing uses it yet. Its explainer may come later."""
        model, explainer = candidate.model, candidate.explainer
        served = ServedModel(model, self._build_lane(model))
        if explainer is not None:
            served.explaining = self._build_explaining(model, explainer)
        elif self._explain_process is not None:
            served.is_explainer_coming = True
            loading = self._load_explainer(served, self._explain_process)
            self._coming[served] = asyncio.create_task(loading)
        return served

    async def explainers_came(self) -> None:
        """Wait until no explainer is being loaded."""
        await asyncio.gather(*self._coming.values())

    async def _load_explainer(self, served: ServedModel, process: ExplainProcess) -> None:
        model = served.loaded
        placed = model.bundle, model.engine.provider, _rounding_of(model), self.recorder
        try:
            while served.explaining is None:
                try:
                    served.explaining = await process.load(*placed)
                except WorkersEndedError:  # the system has no memory for it now
                    await asyncio.sleep(RETRY_S)
            log_event(logging.INFO, "explainer loaded", model=served.name)
        except CxrError as error:  # predictions go on without
            log_event(logging.ERROR, "explainer not usable", model=served.name, reason=str(error))
        finally:
            served.is_explainer_coming = False
            self._coming.pop(served, None)

    def _build_explaining(self, model: LoadedModel, explainer: Explainer) -> Explaining:
        settings = self._settings
        # A run takes tens of milliseconds: company gathers meanwhile, nobody need wait for it.
        batcher = Batcher(
            ExplainRunner(explainer),
            max_batch=settings.explain_max_batch,
            batch_window_s=0.0,
            queue_capacity=settings.explain_queue_capacity,
            longest_run_s=settings.stall_s,
            on_run=partial(self.recorder.batch_ran, model.bundle.manifest.name, EXPLAIN),
        )
        batcher.start()
        tolerance = explainer.tolerance.widened(_rounding_of(model))
        return ExplainHere(explainer, batcher, self._renderer, tolerance)

    def _build_lane(self, model: LoadedModel) -> Lane:
        settings, engine, name = self._settings, model.engine, model.bundle.manifest.name
        in_flight = InFlight(settings.queue_capacity + engine.concurrency * engine.max_batch)
        if engine.runs_on_cores:
            return CoreLane(engine, name, self._pool, in_flight, self.recorder)
        batcher = Batcher(
            EngineRunner(engine, bucket_sizes(engine.max_batch)),
            max_batch=engine.max_batch,
            batch_window_s=settings.batch_window_ms / MS_PER_S,
            queue_capacity=in_flight.capacity,
            longest_run_s=settings.stall_s,
            on_run=partial(self.recorder.batch_ran, name, PREDICT),
        )
        batcher.start()
        return DeviceLane(name, self._pool, batcher, in_flight)

    async def end(self, served: ServedModel) -> None:
        """Finish what was accepted and end the lane's threads."""
        await served.lane.stop()
        await served.loaded.release()
        if (coming := self._coming.get(served)) is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        if served.explaining is not None:
            await served.explaining.stop()

    def close(self) -> None:
        """Stop drawing, once every lane has ended."""
        self._renderer.close()


def _rounding_of(model: LoadedModel) -> Rounding:
    return model.bundle.manifest.rounding_of(model.engine.precision)
