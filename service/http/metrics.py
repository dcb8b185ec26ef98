"""GET /metrics: for Prometheus."""

from __future__ import annotations

from collections import Counter

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from service.answers import ImageResult
from service.http.context import RequestContext, context_of
from service.http.problems import problem_type_of
from service.inference.models import ServedModel
from service.inference.observer import EXPLAIN, PREDICT
from service.inference.prediction import ImageFailure
from service.inference.runtime import Runtime
from service.telemetry.prometheus import CONTENT_TYPE, QueueState, ServiceState

router = APIRouter(tags=["health"])


@router.get(
    "/metrics",
    summary="Counts and durations for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(request: Request) -> Response:
    """Prometheus text. Comes however busy the service is, also while starting and draining."""
    return Response(context_of(request).metrics.render(), media_type=CONTENT_TYPE)


def read_state(runtime: Runtime) -> ServiceState:
    """Read what the page tells of the present moment."""
    depths: Counter[tuple[str, str]] = Counter()  # versions of a model count together
    for model in runtime.loaded_models:
        name = model.manifest.name
        depths[name, PREDICT] += model.lane.load.under_way
        if model.explaining is not None:
            depths[name, EXPLAIN] += model.explaining.batcher.depth
    return ServiceState(
        is_ready=runtime.lifecycle.is_ready,
        waiting_for_core=runtime.pool.waiting,
        queues=tuple(QueueState(*which, depth) for which, depth in depths.items()),
        bundles=tuple(model.reference() for model in runtime.loaded_models),
        versions=tuple(
            (versions.model, version.key, version.state)
            for versions in runtime.every_version
            for version in versions
        ),
    )


def record_result(
    result: ImageResult | ImageFailure, served: ServedModel, context: RequestContext
) -> None:
    """Count one image's outcome."""
    model = served.manifest.name
    if isinstance(result, ImageFailure):
        context.metrics.image_failed(model, problem_type_of(result.error).slug)
    else:
        context.metrics.image_answered(model, result.decision)
