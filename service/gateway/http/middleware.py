"""What every request to the gateway passes: identity, log line, count, last resort."""

from __future__ import annotations

import logging
import time

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.gateway.http.problems import answer_error
from service.telemetry.gateway import GatewayMetrics
from service.telemetry.logs import log_event
from service.telemetry.request_log import RequestNotes, noting
from service.telemetry.stopwatch import MS_PER_S, RECV, Stopwatch
from service.telemetry.tracing import NOTHING, server_span
from service.web.metered import Exchange, known_method
from service.web.problems import CLIENT_CLOSED_REQUEST
from service.web.request_id import choose_request_id

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
        headers = Headers(scope=scope)
        request_id = choose_request_id(headers.get("x-request-id"))
        scope[SCOPE_KEY] = request_id
        stopwatch = Stopwatch(stages=(RECV,))
        exchange = Exchange(receive, send, request_id, stopwatch, time.perf_counter)
        method, notes = known_method(scope["method"]), RequestNotes(request_id)
        traced = NOTHING.span("") if scope["path"] in QUIET_PATHS else server_span(method, headers)
        with traced as span, noting(notes):
            notes.trace_id = span.trace_id
            try:
                await self._app(scope, exchange.receive, exchange.send)
            except Exception as error:  # the last resort
                log_event(logging.ERROR, "unexpected error", error)
                if exchange.status is None:
                    answer = answer_error(error, request_id)
                    await answer(scope, exchange.receive, exchange.send)
            finally:
                # The template of the route, not the path, which holds UIDs.
                route = getattr(scope.get("route"), "path", "other")
                status = exchange.status or CLIENT_CLOSED_REQUEST
                self._metrics.request_ended(route, status, stopwatch.total_ms / MS_PER_S)
                outcome = exchange.tell(
                    method=method,
                    route=route,
                    problem=notes.fields.pop("problem", None),
                    is_quiet=route in QUIET_PATHS,
                    span=span,
                    fields=notes.fields,
                )
                if outcome not in ("ok", "client-closed"):
                    self._metrics.request_failed(outcome)
