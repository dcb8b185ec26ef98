"""The gateway's ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.access.access import Access
from service.access.scopes import GATEWAY_ROUTES
from service.answers import Problem
from service.gateway.gateway import Gateway
from service.gateway.http import health, jobs, stow, studies
from service.gateway.http.problems import GATEWAY_PROBLEM_TYPES, gateway_responses
from service.gateway.http.threads import STORING, Outlook, Pulls, Threads
from service.telemetry.gateway import GatewayMetrics
from service.telemetry.timeline import RECV
from service.web.application import WebApplication
from service.web.problems import PROBLEM_TYPES
from service.web.requests import RequestRules


def build_gateway_app(
    gateway: Gateway, access: Access, on_started: Callable[[BaseException | None], None]
) -> FastAPI:
    """Build the application, which starts and stops the gateway.

    ``on_started`` is called once, with any error.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        try:
            await asyncio.to_thread(gateway.start)
        except Exception as error:
            gateway.lifecycle.fail()
            on_started(error)
        else:
            on_started(None)
        yield
        await asyncio.to_thread(gateway.stop)

    app = WebApplication(
        (stow, studies, jobs, health),
        access=access,
        routes=GATEWAY_ROUTES,
        rules=gateway_rules(gateway.metrics),
        index="/openapi.json",
        bodies=(Problem, stow.StowAnswer),
        title="Chest radiograph gateway",
        responses=gateway_responses(500),
        lifespan=lifespan,
    )
    app.state.gateway = gateway
    app.state.storing = Threads(STORING)
    app.state.pulls = Pulls(gateway.settings.max_pulls)
    app.state.outlook = Outlook(gateway.known_state)
    return app


def gateway_rules(metrics: GatewayMetrics) -> RequestRules:
    """Return the gateway's request rules."""
    return RequestRules(
        metrics,
        problem_types={**PROBLEM_TYPES, **GATEWAY_PROBLEM_TYPES},
        quiet_paths=("/health", "/health/live", "/health/ready", "/metrics"),
        stages=(RECV,),
    )
