"""GET /metrics: for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from cxr.errors import ImageOutOfScopeError, InputError
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
    queues = []
    for model in runtime.loaded_models:
        name = model.manifest.name
        queues.append(QueueState(name, PREDICT, model.lane.load.under_way))
        if model.explaining is not None:
            queues.append(QueueState(name, EXPLAIN, model.explaining.batcher.depth))
    return ServiceState(
        is_ready=runtime.lifecycle.is_ready,
        waiting_for_core=runtime.pool.waiting,
        queues=tuple(queues),
        bundles=tuple(model.reference() for model in runtime.loaded_models),
    )


def record_result(
    result: ImageResult | ImageFailure, served: ServedModel, context: RequestContext
) -> None:
    """Count one image's outcome."""
    metrics, model = context.metrics, served.manifest.name
    if isinstance(result, ImageFailure):
        metrics.image_failed(model, problem_type_of(result.error).slug)
        record_decode_failure(result.error, context)
        if isinstance(result.error, ImageOutOfScopeError):
            metrics.image_out_of_scope(model)
        return
    in_scope = result.scope.in_scope
    metrics.image_answered(model, result.decision)
    metrics.probability_answered(model, result.probability)
    if not in_scope:
        metrics.image_out_of_scope(model)
    metrics.drift.answered(
        (model, served.loaded.bundle.sha256),
        served.manifest.reference,
        result.probability,
        result.decision,
        in_scope=in_scope,
    )


def record_decode_failure(error: Exception, context: RequestContext) -> None:
    """Count an error that says that an image could not be decoded."""
    if isinstance(error, InputError) and not isinstance(error, ImageOutOfScopeError):
        context.metrics.decode_failed(problem_type_of(error).slug)
