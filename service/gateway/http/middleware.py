"""What every request to the gateway passes: identity, log line, count, last resort."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.gateway.http.problems import answer_error
from service.http.problems import CLIENT_CLOSED_REQUEST
from service.http.request_id import choose_request_id
from service.telemetry.gateway import GatewayMetrics
from service.telemetry.logs import log_event

SCOPE_KEY = "cxr_gateway.request_id"
QUIET_PATHS = frozenset({"/health", "/health/live", "/health/ready", "/metrics"})


def request_id_of(request: Request) -> str:
    """Give what a request is called."""
    return str(request.scope[SCOPE_KEY])


class GatewayMiddleware:
    """Names each request, answers what nobody caught, logs and counts it.

    Args:
        app: The application inside.
        metrics: Where requests are recorded.
    """

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = choose_request_id(Headers(scope=scope).get("x-request-id"))
        scope[SCOPE_KEY] = request_id
        begun_s = time.perf_counter()
        status: int | None = None

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception as error:  # the last resort
            log_event(logging.ERROR, "unexpected error", error, request_id=request_id)
            if status is None:
                await answer_error(error, request_id)(scope, receive, send_named)
        finally:
            # The template of the route, not the path, which holds UIDs.
            route = getattr(scope.get("route"), "path", "other")
            duration_s = time.perf_counter() - begun_s
            self._metrics.request_ended(route, status or CLIENT_CLOSED_REQUEST, duration_s)
            log_event(
                logging.DEBUG if route in QUIET_PATHS else logging.INFO,
                "request",
                request_id=request_id,
                method=scope["method"],
                route=route,
                status=status,
                duration_ms=round(duration_s * 1000, 1),
            )
