"""From a loaded version to one that answers requests."""

from __future__ import annotations

from functools import partial

from service.engines.buckets import bucket_sizes
from service.explain.explaining import Explaining, ExplainRunner
from service.models.loading import Candidate, LoadedModel
from service.models.models import ServedModel
from service.scheduling.admission import InFlight
from service.scheduling.batcher import Batcher
from service.scheduling.core_pool import CorePool
from service.scheduling.lane import CoreLane, DeviceLane, EngineRunner, Lane
from service.settings import Settings
from service.telemetry.recorder import EXPLAIN, NULL_RECORDER, PREDICT, Recorder
from service.telemetry.timeline import MS_PER_S


class LaneBuilder:
    """Builds lanes to engines and queues in front of explainers. Belongs to the event loop."""

    def __init__(self, settings: Settings, pool: CorePool) -> None:
        self._settings = settings
        self._pool = pool
        self.recorder: Recorder = NULL_RECORDER

    def begin(self, candidate: Candidate) -> ServedModel:
        """Build the lane to a version; nothing uses it yet."""
        settings, model, explainer = self._settings, candidate.model, candidate.explainer
        lane = self._build_lane(model)
        if explainer is None:
            return ServedModel(model, lane)
        # A run takes tens of milliseconds: company gathers meanwhile, nobody need wait for it.
        explaining = Batcher(
            ExplainRunner(explainer),
            max_batch=settings.explain_max_batch,
            batch_window_s=0.0,
            queue_capacity=settings.explain_queue_capacity,
            longest_run_s=settings.stall_s,
            on_run=partial(self.recorder.batch_ran, model.bundle.manifest.name, EXPLAIN),
        )
        explaining.start()
        rounding = model.bundle.manifest.rounding_of(model.engine.precision)
        tolerance = explainer.tolerance.widened(rounding)
        return ServedModel(model, lane, Explaining(explainer, explaining, tolerance))

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
        if served.explaining is not None:
            await served.explaining.batcher.stop()
