"""What middleware measures and tells of any HTTP exchange."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Send

from service.deadline import Clock
from service.telemetry.logs import log_event
from service.telemetry.stopwatch import MS_PER_S, RECV, Stopwatch
from service.telemetry.tracing import Span
from service.web.problems import CLIENT_CLOSED_REQUEST, SERVER_FAULT, outcome_of

METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
)
OTHER_METHOD = "_OTHER"
"""A client may call a method anything, a patient's name for instance."""


def known_method(method: str) -> str:
    """Give a method's name if it is a known one (RFC 9110, 9.1; RFC 5789)."""
    return method if method in METHODS else OTHER_METHOD


TRACED = frozenset({"model", "model_version", "images", "batch_size", "stored", "refused"})
"""Members of the log line that the request's span has, too."""


class Exchange:
    """One request and its answer.

    Args:
        receive: Of the server.
        send: Of the server.
        request_id: Goes into a header of the answer.
        stopwatch: Gets the time the body took, and goes into another header.
        clock: Gives seconds.

    Attributes:
        status: Of the answer, None before it.
        body_bytes: Received until now.
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        request_id: str,
        stopwatch: Stopwatch,
        clock: Clock,
    ) -> None:
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self._stopwatch = stopwatch
        self._clock = clock
        self.status: int | None = None
        self.body_bytes = 0

    async def receive(self) -> Message:
        """Receive a message; waiting for a disconnect is not waiting for the body."""
        started_s = self._clock()
        message = await self._receive()
        if message["type"] == "http.request":
            self.body_bytes += len(message.get("body", b""))
            self._stopwatch.record(RECV, (self._clock() - started_s) * MS_PER_S)
        return message

    async def send(self, message: Message) -> None:
        """Send a message; the first one gets our headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._request_id
            headers["Server-Timing"] = self._stopwatch.server_timing()
        await self._send(message)

    def tell(
        self,
        *,
        method: str,
        route: str,
        problem: str | None,
        is_quiet: bool,
        span: Span,
        fields: Mapping[str, Any],
    ) -> str:
        """Finish the request's span and write its canonical log line.

        Args:
            method: A known one.
            route: Template of its route.
            problem: Slug of what it was answered with, None if nothing is known of it.
            is_quiet: Whether the line is for debugging only.
            span: The request's.
            fields: Further members of the line.

        Returns:
            The outcome: ``ok``, ``client-closed`` or the slug of a problem.
        """
        status = self.status or CLIENT_CLOSED_REQUEST
        outcome = outcome_of(status, problem)
        span.name(f"{method} {route}")
        span.set(
            http__request__method=method, http__route=route, http__response__status_code=status
        )
        span.set(**{f"cxr.{name}": fields[name] for name in TRACED & fields.keys()})
        if status >= SERVER_FAULT:
            span.fail(outcome)
        log_event(
            logging.DEBUG if is_quiet else logging.INFO,
            "request",
            method=method,
            route=route,
            status=self.status,
            outcome=outcome,
            body_bytes=self.body_bytes,
            timings_ms=self._stopwatch.told_ms(),
            **fields,
        )
        return outcome
