"""GET /metrics: for Prometheus."""

from __future__ import annotations

from bisect import insort
from collections import Counter

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from cxr.bundles.reference import bin_of
from cxr.errors import ImageOutOfScopeError, InputError
from service.answers import ImageResult
from service.engines.provider import ON_CUDA_DEVICE
from service.http.context import RequestContext, context_of
from service.models.models import ServedModel
from service.models.predictor import ImageFailure
from service.models.runtime import Runtime
from service.telemetry.gpu import GpuMemoryReader
from service.telemetry.observer import EXPLAIN, PREDICT
from service.telemetry.prometheus import CONTENT_TYPE, QueueState, ServiceState
from service.web.problems import problem_type_of

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


class StateReader:
    """Reads what the page tells of the present moment.

    Args:
        runtime: Of the application.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._gpu: GpuMemoryReader | None = None

    def read(self) -> ServiceState:
        """Read it. The driver is asked only once a model runs on its device."""
        runtime = self._runtime
        providers = {model.loaded.engine.provider for model in runtime.loaded_models}
        if self._gpu is None and providers & ON_CUDA_DEVICE:
            self._gpu = GpuMemoryReader(runtime.settings.device_id)
        return read_state(runtime, self._gpu)


def read_state(runtime: Runtime, gpu: GpuMemoryReader | None = None) -> ServiceState:
    """Read what the page tells of the present moment.

    Args:
        runtime: Of the application.
        gpu: Reads its device's memory; None without one.
    """
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
        gpu=None if gpu is None else gpu.read(),
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
    metrics, model = context.metrics, served.manifest.name
    if isinstance(result, ImageFailure):
        metrics.image_failed(model, problem_type_of(result.error).slug)
        record_decode_failure(result.error, context)
        if isinstance(result.error, ImageOutOfScopeError):
            metrics.image_out_of_scope(model)
        return
    in_scope = result.scope.in_scope
    _note_result(result, served, context)
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


def _note_result(result: ImageResult, served: ServedModel, context: RequestContext) -> None:
    """Count a result for the request's log line. Bins say nothing of the order of the images."""
    fields = context.log_fields
    decisions = fields.setdefault("decisions", {})
    decisions[result.decision] = decisions.get(result.decision, 0) + 1
    fields["out_of_scope"] = fields.get("out_of_scope", 0) + (not result.scope.in_scope)
    insort(fields.setdefault("probability_bins", []), bin_of(result.probability))


def record_decode_failure(error: Exception, context: RequestContext) -> None:
    """Count an error that says that an image could not be decoded."""
    if isinstance(error, InputError) and not isinstance(error, ImageOutOfScopeError):
        context.metrics.decode_failed(problem_type_of(error).slug)
