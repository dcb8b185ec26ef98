"""What every request passes: identity, deadline, stopwatch, log line, last resort."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.deadline import Deadline
from service.errors import InvalidRequestError, NotReadyError
from service.http.context import RequestContext, attach_context
from service.http.v2.errors import answer_error
from service.lifecycle import RETRY_DRAINING_S
from service.telemetry.logs import log_event
from service.telemetry.prometheus import Metrics
from service.telemetry.request_log import RequestNotes, noting
from service.telemetry.stopwatch import EXPLAIN, MS_PER_S, STAGES, Stopwatch
from service.telemetry.tracing import NOTHING, Span, server_span
from service.web.metered import Exchange, known_method
from service.web.problems import CLIENT_CLOSED_REQUEST, problem_type_of
from service.web.request_id import choose_request_id

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

METERED_STAGES = frozenset({*STAGES, EXPLAIN})

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
        exchange = Exchange(receive, send, context.request_id, context.stopwatch, time.perf_counter)
        # The route may change the scope; the log line is about what was asked for.
        method = known_method(scope["method"])
        notes = RequestNotes(context.request_id, fields=context.log_fields)
        traced = NOTHING.span("") if scope["path"] in QUIET_PATHS else server_span(method, headers)
        with traced as span, noting(notes):
            notes.trace_id = span.trace_id
            try:
                if refusal is not None:
                    raise refusal
                await self._app(scope, exchange.receive, exchange.send)
            except Exception as error:  # the last resort
                if error is not refusal:
                    log_event(logging.ERROR, "unexpected error", error)
                await self._answer(error, scope, exchange, context)
            except asyncio.CancelledError:
                # The server cuts off what still runs when its time to drain is over. The request
                # ends here with an answer, so the cancellation need not go on.
                cut_off = NotReadyError(CUT_OFF, RETRY_DRAINING_S)
                await self._answer(cut_off, scope, exchange, context, only_if_open=True)
            finally:
                _record_request(scope, method, context, exchange, span)

    async def _answer(
        self,
        error: Exception,
        scope: Scope,
        exchange: Exchange,
        context: RequestContext,
        *,
        only_if_open: bool = False,
    ) -> None:
        if exchange.status is None or not only_if_open:
            context.fail(problem_type_of(error).slug)
        if exchange.status is None:
            answer = answer_error(scope, error, context.request_id)
            await answer(scope, exchange.receive, exchange.send)


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


def _record_request(
    scope: Scope, method: str, context: RequestContext, exchange: Exchange, span: Span
) -> None:
    # The template of the route, not the path, which may carry anything; other: /docs, or none.
    route = getattr(scope.get("route"), "path", "other")
    stages_ms = context.stopwatch.stages_ms
    status = exchange.status or CLIENT_CLOSED_REQUEST
    context.metrics.request_ended(route, status, context.stopwatch.total_ms / MS_PER_S)
    for stage in METERED_STAGES & stages_ms.keys():
        context.metrics.stage_ended(stage, stages_ms[stage] / MS_PER_S)
    exchange.tell(
        method=method,
        route=route,
        problem=context.outcome,
        is_quiet=route in QUIET_PATHS,
        span=span,
        fields=context.log_fields,
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
