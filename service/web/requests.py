"""What every request to either server passes: identity, deadline, log line, last resort."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol, cast

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.deadline import Deadline
from service.errors import InvalidRequestError, NotReadyError
from service.lifecycle import RETRY_DRAINING_S
from service.telemetry import tracing
from service.telemetry.logs import log_event
from service.telemetry.timeline import CURRENT, STAGES, Timeline
from service.web.problems import CLIENT_CLOSED_REQUEST, SERVER_FAULT, outcome_of, slug_of

SCOPE_KEY = "cxr.context"
METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
)
OTHER_METHOD = "_OTHER"
"""A client may call a method anything, a patient's name for instance."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a client's X-Request-ID must look like to be used: it is logged and echoed."""

TIMEOUT_HEADER = "x-request-timeout-ms"
TIMEOUT_MS = re.compile(r"[1-9][0-9]{0,5}")
"""A client may shorten its deadline; the operator's setting bounds it."""

TRACED = frozenset({"model", "model_version", "images", "batch_size", "stored", "refused"})
"""Members of the log line that the request's span has, too."""

CUT_OFF = "The service stopped before the request was answered. Try another replica."


@dataclass
class RequestContext:
    """What a request carries through the layers.

    Attributes:
        timeline: What happens to it.
        deadline: Nothing more is begun for it afterwards.
    """

    timeline: Timeline
    deadline: Deadline

    @property
    def request_id(self) -> str:
        """The client's, or one of our own."""
        return self.timeline.request_id


def context_of(request: Request | Scope) -> RequestContext:
    """Return the context of a request, or of its ASGI scope."""
    scope = request.scope if isinstance(request, Request) else request
    return cast("RequestContext", scope[SCOPE_KEY])


class RequestMetrics(Protocol):
    """Where requests are recorded."""

    def request_ended(
        self, route: str, status: int, timeline: Timeline, slug_of: Callable[[Exception], str]
    ) -> None:
        """Record a request."""


@dataclass(frozen=True)
class RequestRules:
    """What differs between the servers.

    Attributes:
        metrics: Where requests are recorded.
        answer_error: Answers an exception that no handler took.
        slug_of: Returns the slug of the problem of an exception.
        quiet_paths: Templates of routes that are polled: logged for debugging only, never traced.
        deadline_ms: Time a request has, which a header of its own may shorten.
        stages: Stages that every log line reports.
    """

    metrics: RequestMetrics
    answer_error: Callable[[Scope, Exception], Response]
    slug_of: Callable[[Exception], str] = slug_of
    quiet_paths: Collection[str] = ()
    deadline_ms: float = math.inf
    stages: tuple[str, ...] = STAGES


class _Exchange:
    """One request and its answer: measures the body, and gives the answer our headers."""

    def __init__(self, timeline: Timeline, receive: Receive, send: Send) -> None:
        self.timeline = timeline
        self.status: int | None = None
        self.body_bytes = 0
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        timeline = self.timeline
        started_s = timeline.clock()
        message = await self._receive()
        if message["type"] == "http.request":  # else the client went away
            self.body_bytes += len(message.get("body", b""))
            waited_s = timeline.clock() - started_s
            timeline.received_s = (timeline.received_s or 0.0) + waited_s
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self.timeline.request_id
            headers["Server-Timing"] = ", ".join(
                f"{name};dur={spent_ms}" for name, spent_ms in self.timeline.timings_ms().items()
            )
        await self._send(message)


class RequestMiddleware:
    """Gives each request its context, answers what nobody caught, logs and counts it.

    Args:
        app: The application inside.
        rules: Of the server.
    """

    def __init__(self, app: ASGIApp, rules: RequestRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rules, headers = self._rules, Headers(scope=scope)
        # The route may change the scope; the log line is about what was asked for.
        method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
        bounded = rules.deadline_ms < math.inf
        wished_ms, refusal = _read_timeout(headers.get(TIMEOUT_HEADER) if bounded else None)
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        timeline = Timeline(request_id, stages=rules.stages)
        scope[SCOPE_KEY] = RequestContext(
            timeline, Deadline.after_ms(min(wished_ms, rules.deadline_ms))
        )
        exchange = _Exchange(timeline, receive, send)
        traced = scope["path"] not in rules.quiet_paths
        token = CURRENT.set(timeline)
        try:
            with tracing.server_span(method, headers, traced=traced) as span:
                timeline.trace_id = tracing.trace_id_of(span)
                try:
                    if refusal is not None:
                        raise refusal
                    await self._app(scope, exchange.receive, exchange.send)
                except Exception as error:  # the last resort
                    if error is not refusal:
                        log_event(logging.ERROR, "unexpected error", error)
                    await self._answer(scope, exchange, error)
                except asyncio.CancelledError:
                    # The server cuts off what still runs when its time to drain is over. The
                    # request ends here with an answer, so the cancellation need not go on.
                    if exchange.status is None:
                        await self._answer(
                            scope, exchange, NotReadyError(CUT_OFF, RETRY_DRAINING_S)
                        )
                finally:
                    self._tell(scope, method, span, exchange)
        finally:
            CURRENT.reset(token)

    async def _answer(self, scope: Scope, exchange: _Exchange, error: Exception) -> None:
        exchange.timeline.fail(self._rules.slug_of(error))
        if exchange.status is None:
            answer = self._rules.answer_error(scope, error)
            await answer(scope, exchange.receive, exchange.send)

    def _tell(
        self,
        scope: Scope,
        method: str,
        span: tracing.ServerSpan,
        exchange: _Exchange,
    ) -> None:
        """Derive metrics, spans and the canonical log line from the timeline."""
        rules, timeline, status = self._rules, exchange.timeline, exchange.status
        # The template of the route, not the path, which may carry anything; other: /docs, or none.
        route = getattr(scope.get("route"), "path", "other")
        counted = status or CLIENT_CLOSED_REQUEST
        rules.metrics.request_ended(route, counted, timeline, rules.slug_of)
        fields: dict[str, Any] = timeline.fields | timeline.image_fields(rules.slug_of)
        outcome = outcome_of(counted, timeline.problem)
        if span.is_recording():
            timeline.record_spans()
            attributes = {
                "http.request.method": method,
                "http.route": route,
                "http.response.status_code": counted,
                **{f"cxr.{name}": fields[name] for name in TRACED & fields.keys()},
            }
            failure = outcome if counted >= SERVER_FAULT else None
            tracing.finish(span, f"{method} {route}", attributes, failure)
        log_event(
            logging.DEBUG if route in rules.quiet_paths else logging.INFO,
            "request",
            method=method,
            route=route,
            status=status,
            outcome=outcome,
            body_bytes=exchange.body_bytes,
            timings_ms=timeline.timings_ms(),
            **fields,
        )


def _read_timeout(given: str | None) -> tuple[float, InvalidRequestError | None]:
    """Return how long the client will wait, infinite if it does not say, or why that is wrong."""
    if given is None:
        return math.inf, None
    if TIMEOUT_MS.fullmatch(given) is None:
        return math.inf, InvalidRequestError(
            "X-Request-Timeout-Ms is not a whole number of milliseconds from 1 to 999999."
        )
    return float(given), None
