"""The gateway's ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from cxr import __version__
from cxr.errors import CxrError
from service.access.access import Access
from service.access.scopes import GATEWAY_ROUTES
from service.answers import Problem
from service.errors import ClientDisconnectedError
from service.gateway.gateway import Gateway
from service.gateway.http import health, jobs, stow, studies
from service.gateway.http.problems import answer_error, gateway_responses, gateway_slug_of
from service.gateway.http.threads import STORING, Outlook, Pulls, Threads
from service.telemetry.gateway import GatewayMetrics
from service.telemetry.timeline import RECV
from service.web.access import AccessMiddleware
from service.web.documented import DocumentedApplication
from service.web.problems import (
    CLIENT_CLOSED_REQUEST,
    INVALID_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    build_problem,
    problem_response,
)
from service.web.requests import RequestMiddleware, RequestRules, context_of
from service.web.security_headers import SecurityHeadersMiddleware

TITLE = "Chest radiograph gateway"
_BY_STATUS = {
    404: (NOT_FOUND, "There is nothing at this path. /openapi.json lists what there is."),
    405: (METHOD_NOT_ALLOWED, "This path takes other methods; the Allow header names them."),
}


def build_gateway_app(
    gateway: Gateway, access: Access, on_started: Callable[[BaseException | None], None]
) -> FastAPI:
    """Build the application around a gateway, which starts and stops with it.

    Args:
        gateway: Not yet started.
        access: Who may ask for what.
        on_started: Called once, with the error if the gateway did not start.
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

    app = DocumentedApplication(
        bodies=(Problem, stow.StowAnswer),
        title=TITLE,
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses=gateway_responses(500),
        lifespan=lifespan,
    )
    app.state.gateway = gateway
    app.state.storing = Threads(STORING)
    app.state.pulls = Pulls(gateway.settings.max_pulls)
    app.state.outlook = Outlook(gateway.known_state)
    app.state.access, app.state.routes = access, GATEWAY_ROUTES
    for module in (stow, studies, jobs, health):
        app.include_router(module.router)
    app.add_exception_handler(CxrError, _on_domain_error)
    app.add_exception_handler(ClientDisconnectedError, _on_disconnect)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_middleware(
        AccessMiddleware,
        access=access,
        routes=GATEWAY_ROUTES,
        refuse=_refuse,
        request_id_of=_request_id,
    )
    app.add_middleware(RequestMiddleware, rules=gateway_rules(gateway.metrics))
    app.add_middleware(SecurityHeadersMiddleware)
    return app


def gateway_rules(metrics: GatewayMetrics) -> RequestRules:
    """Return what every request to a gateway is handled by."""
    return RequestRules(
        metrics,
        _refuse,
        gateway_slug_of,
        quiet_paths=("/health", "/health/live", "/health/ready", "/metrics"),
        stages=(RECV,),
    )


def _request_id(scope: Scope) -> str:
    return context_of(scope).request_id


def _refuse(scope: Scope, error: Exception) -> Response:
    return answer_error(error, context_of(scope))


async def _on_domain_error(request: Request, error: Exception) -> Response:
    return answer_error(error, context_of(request))


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    first = cast("RequestValidationError", error).errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    detail = f"The request is not valid at {where}: {first['msg']}."
    context_of(request).timeline.fail(INVALID_REQUEST.slug)
    return problem_response(build_problem(INVALID_REQUEST, detail, context_of(request).request_id))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    given = cast("HTTPException", error)
    kind, detail = _BY_STATUS.get(
        given.status_code, (INVALID_REQUEST, "The request cannot be served.")
    )
    context_of(request).timeline.fail(kind.slug)
    return problem_response(
        build_problem(kind, detail, context_of(request).request_id), dict(given.headers or {})
    )
