"""What every request passes: identity, deadline, stopwatch, log line, last resort."""

from __future__ import annotations

import asyncio
import logging
import math
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.deadline import Deadline
from service.errors import InvalidRequestError, NotReadyError
from service.http.context import RequestContext, attach_context
from service.http.problems import CLIENT_CLOSED_REQUEST, problem_type_of
from service.http.request_id import choose_request_id
from service.http.v2.errors import answer_error
from service.lifecycle import RETRY_DRAINING_S
from service.telemetry.logs import log_event
from service.telemetry.prometheus import Metrics
from service.telemetry.stopwatch import MS_PER_S, Stopwatch

QUIET_PATHS = frozenset(
    {
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{name}/ready",
        "/v2/models/{name}/versions/{version}/ready",
    }
)
"""Probes come every few seconds: they are logged for debugging only."""

TIMEOUT_HEADER = "x-request-timeout-ms"
TIMEOUT_MS = re.compile(r"[1-9][0-9]{0,5}")
"""A client may shorten its deadline; the operator's setting bounds it."""

CUT_OFF = "The service stopped before the request was answered. Try another replica."


class RequestMiddleware:
    """Gives each request its context, answers what nobody caught, logs and counts it.

    Args:
        app: The application inside.
        deadline_ms: Time a request has.
        metrics: Where requests are recorded.
    """

    def __init__(self, app: ASGIApp, deadline_ms: float, metrics: Metrics) -> None:
        self._app = app
        self._deadline_ms = deadline_ms
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        wished_ms, refusal = _read_timeout(headers)
        context = RequestContext(
            choose_request_id(headers.get("x-request-id")),
            Deadline.after_ms(min(wished_ms, self._deadline_ms)),
            Stopwatch(),
            self._metrics,
        )
        attach_context(scope, context)
        response = _Response(send, context)
        if refusal is not None:
            self._metrics.request_failed(problem_type_of(refusal).slug)
            await answer_error(scope, refusal, context.request_id)(scope, receive, response.send)
            _record_request(scope, scope["method"], context, response.status)
            return
        # The route may change the scope; the log line is about what was asked for.
        method = scope["method"]
        try:
            await self._app(scope, receive, response.send)
        except Exception as error:  # the last resort
            log_event(logging.ERROR, "unexpected error", error, request_id=context.request_id)
            self._metrics.request_failed(problem_type_of(error).slug)
            if response.status is None:
                answer = answer_error(scope, error, context.request_id)
                await answer(scope, receive, response.send)
        except asyncio.CancelledError:
            # The server cuts off what still runs when its time to drain is over. The request
            # ends here with an answer, so the cancellation need not go on.
            if response.status is None:
                cut_off = NotReadyError(CUT_OFF, RETRY_DRAINING_S)
                self._metrics.request_failed(problem_type_of(cut_off).slug)
                answer = answer_error(scope, cut_off, context.request_id)
                await answer(scope, receive, response.send)
        finally:
            _record_request(scope, method, context, response.status)


def _read_timeout(headers: Headers) -> tuple[float, InvalidRequestError | None]:
    """Read how long the client will wait, infinite if it does not say, or why that is no time."""
    given = headers.get(TIMEOUT_HEADER)
    if given is None:
        return math.inf, None
    if TIMEOUT_MS.fullmatch(given) is None:
        return math.inf, InvalidRequestError(
            "X-Request-Timeout-Ms is not a whole number of milliseconds from 1 to 999999."
        )
    return float(given), None


class _Response:
    """Adds headers to a response as it begins, and remembers its status."""

    def __init__(self, send: Send, context: RequestContext) -> None:
        self._send = send
        self._context = context
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._context.request_id
            headers["Server-Timing"] = self._context.stopwatch.server_timing()
        await self._send(message)


def _record_request(scope: Scope, method: str, context: RequestContext, status: int | None) -> None:
    # The template of the route, not the path, which may carry anything; other: /docs, or none.
    route = getattr(scope.get("route"), "path", "other")
    duration_s = context.stopwatch.total_ms / MS_PER_S
    context.metrics.request_ended(route, status or CLIENT_CLOSED_REQUEST, duration_s)
    log_event(
        logging.DEBUG if route in QUIET_PATHS else logging.INFO,
        "request",
        request_id=context.request_id,
        method=method,
        route=route,
        status=status,
        timings_ms=context.stopwatch.as_ms(),
        **context.log_fields,
    )


class HeadMiddleware:
    """Answers HEAD as GET without the body (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        # A copy: the server goes by the method in its own scope.
        inner = {**scope, "method": "GET"}
        try:
            await self._app(inner, receive, _without_body(send))
        finally:
            scope["route"] = inner.get("route")


def _without_body(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head
