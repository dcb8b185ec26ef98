"""Health, metrics and the problems page."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

import service.http
from cxr import __version__
from service.answers import StatusAnswer
from service.gateway.http.context import gateway_of, look
from service.gateway.http.problems import gateway_responses
from service.http.pages import PAGE_HEADERS
from service.lifecycle import State as LifecycleState
from service.telemetry.prometheus import CONTENT_TYPE
from service.web.documented import METRICS_ROUTE

router = APIRouter(tags=["health"])

PAGES = Path(service.http.__file__).parent / "page"


class GatewayHealth(BaseModel):
    """State and backlog."""

    status: LifecycleState
    version: str
    uptime_s: float
    jobs: dict[str, int]
    oldest_job_s: float
    free_bytes: int
    age_s: float = Field(
        description="Age of the three above; it grows while the database or the disk does not tell."
    )


@router.get("/health", summary="Summarise the state")
async def health(request: Request) -> GatewayHealth:
    """State and backlog of all gateways that share the inbox, as last known."""
    gateway = await look(request)
    known = gateway.known_state.last()
    return GatewayHealth(
        status=gateway.lifecycle.state,
        version=__version__,
        uptime_s=round(gateway.lifecycle.uptime_s, 3),
        jobs=dict(known.jobs),
        oldest_job_s=round(known.oldest_s, 3),
        free_bytes=known.free_bytes,
        age_s=round(known.age_s, 3),
    )


@router.get("/health/live", summary="Is the event loop turning?")
async def live() -> StatusAnswer:
    """200 throughout."""
    return StatusAnswer(status="live")


@router.get("/health/ready", summary="Are objects accepted?", responses=gateway_responses(503))
async def ready(request: Request) -> StatusAnswer:
    """200 while objects are accepted; 503 while starting or stopping. A full disk is no reason."""
    gateway_of(request).lifecycle.verify_ready()
    return StatusAnswer(status="ready")


@router.get("/metrics", **METRICS_ROUTE)
async def metrics(request: Request) -> Response:
    """Prometheus text."""
    return Response((await look(request)).metrics.render(), media_type=CONTENT_TYPE)


@router.get("/docs/problems", include_in_schema=False)
async def problems() -> Response:
    """Explain the types of problems."""
    return Response(
        (PAGES / "problems.html").read_bytes(), headers=PAGE_HEADERS, media_type="text/html"
    )
