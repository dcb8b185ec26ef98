"""The middleware that every request passes first."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, cast

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.answers import Problem
from service.deadline import Deadline
from service.errors import InvalidRequestError, NotReadyError
from service.lifecycle import RETRY_DRAINING_S, Lifecycle
from service.telemetry import tracing
from service.telemetry.logs import log_event
from service.telemetry.timeline import CURRENT, STAGES, Timeline
from service.web.problems import (
    CLIENT_CLOSED_REQUEST,
    INVALID_REQUEST,
    PROBLEM_TYPES,
    SERVER_FAULT,
    ProblemTypes,
    error_headers,
    problem_of,
    problem_response,
    problem_type_of,
)

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

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Defaults: an answer that is no page runs nothing in a browser and is framed nowhere."""

DEFAULT_HEADERS = [
    (name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
]

NO_STORE = "no-store"
"""Default Cache-Control of answers without an ETag: they are about patients, or cannot be
revalidated."""

RawHeader: TypeAlias = tuple[bytes, bytes]

NOT_TRACED = nullcontext()
CUT_OFF = "The service stopped before the request was answered. Try another replica."


@dataclass
class RequestContext:
    """What a request carries."""

    timeline: Timeline
    deadline: Deadline

    @property
    def request_id(self) -> str:
        """The client's or our own."""
        return self.timeline.request_id


def context_of(request: Request | Scope) -> RequestContext:
    """Return the context of a request or its scope."""
    scope = request.scope if isinstance(request, Request) else request
    return cast("RequestContext", scope[SCOPE_KEY])


class RequestMetrics(Protocol):
    """Where requests are recorded."""

    def request_ended(
        self, route: str, status: int, timeline: Timeline, slug_of: Callable[[Exception], str]
    ) -> None:
        """Record a request."""


def _as_problem_json(scope: Scope, problem: Problem, headers: Mapping[str, str] | None) -> Response:
    return problem_response(problem, headers)


@dataclass(frozen=True)
class RequestRules:
    """What differs between the servers.

    Attributes:
        metrics: Where requests are recorded.
        lifecycle: While it drains, answers close their connections.
        problem_types: Problem of each error.
        answer_problem: Represents a problem in the protocol of the request.
        quiet_paths: Templates of polled routes, logged for debugging and never traced.
        deadline_ms: Most time of a request.
        stages: Stages in every log line.
        answers_head: Whether HEAD is answered as GET (RFC 9110, 9.3.2).
    """

    metrics: RequestMetrics
    lifecycle: Lifecycle | None = None
    problem_types: ProblemTypes = field(default_factory=lambda: PROBLEM_TYPES)
    answer_problem: Callable[[Scope, Problem, Mapping[str, str] | None], Response] = (
        _as_problem_json
    )
    quiet_paths: Collection[str] = ()
    deadline_ms: float = math.inf
    stages: tuple[str, ...] = STAGES
    answers_head: bool = False

    def slug_of(self, error: Exception) -> str:
        """Return the slug of an error's problem."""
        return problem_type_of(error, self.problem_types).slug

    def refuse(self, scope: Scope, error: Exception) -> Response:
        """Record and answer the failure of a whole request."""
        context = context_of(scope)
        context.timeline.fail(self.slug_of(error), error)
        problem = problem_of(error, context.request_id, self.problem_types)
        return self.answer_problem(scope, problem, error_headers(error))


class _Exchange:
    def __init__(
        self, rules: RequestRules, timeline: Timeline, receive: Receive, send: Send
    ) -> None:
        self.timeline = timeline
        self.status: int | None = None
        self.body_bytes = 0
        self.without_body = False
        self._rules = rules
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        timeline = self.timeline
        started_s = timeline.clock()
        message = await self._receive()
        if message["type"] == "http.request":  # else the client disconnected
            self.body_bytes += len(message.get("body", b""))
            waited_s = timeline.clock() - started_s
            timeline.received_s = (timeline.received_s or 0.0) + waited_s
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._headers_beside(message["headers"])]
        elif self.without_body and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)

    def _headers_beside(
        self, given: Iterable[tuple[bytes, bytes]]
    ) -> Iterator[tuple[bytes, bytes]]:
        names = {name for name, _ in given}
        lifecycle = self._rules.lifecycle
        if lifecycle is not None and lifecycle.is_draining:
            # The client turns to another replica (RFC 9112, 9.6), and sends no further request
            # at the moment in which idle connections are closed.
            yield b"connection", b"close"
        yield b"x-request-id", self.timeline.request_id.encode()
        timings_ms = self.timeline.timings_ms()
        timing = ", ".join(f"{name};dur={spent_ms}" for name, spent_ms in timings_ms.items())
        yield b"server-timing", timing.encode()
        for name, value in DEFAULT_HEADERS:
            if name not in names:
                yield name, value
        if b"etag" not in names and b"cache-control" not in names:
            yield b"cache-control", NO_STORE.encode()


class RequestMiddleware:
    """Gives each request its context, answers uncaught errors, logs and counts."""

    def __init__(self, app: ASGIApp, rules: RequestRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        rules, headers, inner = self._rules, Headers(scope=scope), scope
        # The route may change the scope; the log line is about what was asked for.
        method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
        refusal: Exception | None = None
        deadline_ms, wished = rules.deadline_ms, headers.get(TIMEOUT_HEADER)
        if wished is not None and deadline_ms < math.inf:
            deadline_ms, refusal = _shorten(deadline_ms, wished)
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        timeline = Timeline(request_id, stages=rules.stages)
        scope[SCOPE_KEY] = RequestContext(timeline, Deadline(time.monotonic() + deadline_ms / 1000))
        exchange = _Exchange(rules, timeline, receive, send)
        if method == "HEAD" and rules.answers_head:
            exchange.without_body = True
            inner = {**scope, "method": "GET"}  # a copy: the server reads the method of its own
        is_traced = tracing.is_on and scope["path"] not in rules.quiet_paths
        token = CURRENT.set(timeline)
        try:
            with tracing.server_span(method, headers) if is_traced else NOT_TRACED as span:
                timeline.trace_id = tracing.trace_id_of(span) if span is not None else None
                try:
                    if refusal is not None:
                        raise refusal
                    await self._app(inner, exchange.receive, exchange.send)
                except Exception as error:  # the last resort
                    if error is not refusal:
                        log_event(logging.ERROR, "unexpected error", error)
                    answer = rules.refuse(scope, error)
                    if exchange.status is None:
                        await answer(scope, exchange.receive, exchange.send)
                except asyncio.CancelledError:
                    # The server cuts off what still runs when its time to drain is over. The
                    # request ends here with an answer, so the cancellation need not go on.
                    if exchange.status is None:
                        answer = rules.refuse(scope, NotReadyError(CUT_OFF, RETRY_DRAINING_S))
                        await answer(scope, exchange.receive, exchange.send)
                finally:
                    self._tell(inner, method, span, exchange)
        finally:
            CURRENT.reset(token)

    def _tell(
        self,
        scope: Scope,
        method: str,
        span: tracing.ServerSpan | None,
        exchange: _Exchange,
    ) -> None:
        rules, timeline, status = self._rules, exchange.timeline, exchange.status
        # The template of the route, not the path, which may carry anything; other: /docs, or none.
        route = getattr(scope.get("route"), "path", "other")
        counted = status or CLIENT_CLOSED_REQUEST
        rules.metrics.request_ended(route, counted, timeline, rules.slug_of)
        fields: dict[str, Any] = timeline.fields | timeline.image_fields(rules.slug_of)
        outcome = timeline.problem or ("ok" if counted < 400 else INVALID_REQUEST.slug)
        if counted == CLIENT_CLOSED_REQUEST:
            outcome = "client-closed"
        if span is not None:
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


def _shorten(deadline_ms: float, wished: str) -> tuple[float, InvalidRequestError | None]:
    if TIMEOUT_MS.fullmatch(wished) is None:
        return deadline_ms, InvalidRequestError(
            "X-Request-Timeout-Ms is not a whole number of milliseconds from 1 to 999999."
        )
    return min(float(wished), deadline_ms), None
