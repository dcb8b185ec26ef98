"""GET /metrics."""

from __future__ import annotations

from collections import Counter
from typing import cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.engines.cuda_driver import GpuMemoryReader
from service.engines.placement import ON_CUDA_DEVICE
from service.models.runtime import Runtime
from service.telemetry.prometheus import (
    CONTENT_TYPE,
    Metrics,
    QueueState,
    ServiceState,
    WorkersState,
)
from service.telemetry.recorder import EXPLAIN, PREDICT
from service.web.documented import METRICS_ROUTE

router = APIRouter(tags=["health"])


@router.get("/metrics", **METRICS_ROUTE)
async def metrics(request: Request) -> Response:
    """Prometheus text, however busy the service is, also while starting and draining."""
    return Response(cast("Metrics", request.app.state.metrics).render(), media_type=CONTENT_TYPE)


class StateReader:
    """Reads the state for the metrics page."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._gpu: GpuMemoryReader | None = None

    def read(self) -> ServiceState:
        """Read it, asking the driver once a model runs on its device."""
        runtime = self._runtime
        providers = {model.loaded.engine.provider for model in runtime.loaded_models}
        if self._gpu is None and providers & ON_CUDA_DEVICE:
            self._gpu = GpuMemoryReader(runtime.settings.device_id)
        return read_state(runtime, self._gpu)


def read_state(runtime: Runtime, gpu: GpuMemoryReader | None = None) -> ServiceState:
    """Read a runtime's and its device's state."""
    depths: Counter[tuple[str, str]] = Counter()  # versions of a model count together
    for model in runtime.loaded_models:
        name = model.name
        depths[name, PREDICT] += model.lane.in_flight.images
        if model.explaining is not None:
            depths[name, EXPLAIN] += model.explaining.depth
    return ServiceState(
        is_ready=runtime.lifecycle.is_ready,
        waiting_for_core=runtime.pool.waiting,
        queues=tuple(QueueState(*which, depth) for which, depth in depths.items()),
        bundles=tuple(model.reference for model in runtime.loaded_models),
        gpu=None if gpu is None else gpu.read(),
        versions=tuple(
            (versions.model, version.key, version.state)
            for versions in runtime.every_version
            for version in versions
        ),
        workers=tuple(
            WorkersState(work, *pool.taken) for work, pool in runtime.worker_pools.items()
        ),
    )
