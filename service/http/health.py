"""GET /health."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request

from cxr import __version__
from service.answers import HealthAnswer, ModelHealth, StatusAnswer
from service.http.receive import runtime_of
from service.web.documented import problem_responses

router = APIRouter(prefix="/health", tags=["health"])


@router.get("", summary="Summarise the state")
async def health(request: Request) -> HealthAnswer:
    """State, uptime and queues. Always 200 while the service lives."""
    runtime = runtime_of(request)
    return HealthAnswer(
        status=runtime.lifecycle.state,
        version=__version__,
        uptime_s=round(runtime.lifecycle.uptime_s, 3),
        active_requests=runtime.lifecycle.active_requests,
        models=tuple(
            ModelHealth(
                name=model.manifest.name,
                version=model.manifest.version,
                provider=model.loaded.engine.provider,
                queue_depth=model.lane.in_flight.images,
                queue_capacity=model.lane.in_flight.capacity,
                explain_queue_depth=model.explaining and model.explaining.depth,
            )
            for model in runtime.loaded_models
        ),
    )


@router.get("/live", summary="Is the process of any use?", responses=problem_responses(503))
async def live(request: Request) -> StatusAnswer:
    """200 throughout, also while starting and draining.

    503 once nothing has come back from cores, a device or an explanation for `CXR_STALL_RESTART_S`:
    the process should be replaced.
    """
    runtime_of(request).verify_live()
    return StatusAnswer(status="live")


@router.get("/ready", summary="Are predictions accepted?", responses=problem_responses(503))
async def ready(request: Request) -> StatusAnswer:
    """200 once the bundles are verified, warmed and match their goldens.

    503 while draining, and while nothing comes back from cores or a device (`CXR_STALL_S`).
    """
    runtime_of(request).lifecycle.verify_ready()
    return StatusAnswer(status="ready")
