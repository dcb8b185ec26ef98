"""What one request carries through the layers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from starlette.requests import Request
from starlette.types import Scope

from service.deadline import Deadline
from service.models.runtime import Runtime
from service.telemetry.prometheus import Metrics
from service.telemetry.stopwatch import Stopwatch

SCOPE_KEY = "cxr_service.context"


@dataclass
class RequestContext:
    """One request's identity, time and notes.

    Attributes:
        request_id: The client's, or one of our own.
        deadline: After it nothing more is begun for the request.
        stopwatch: Runs since the request's head was read.
        metrics: Of the application.
        log_fields: Members added to the request's log line.
        outcome: Slug of the problem it was answered with, None while there is none.
    """

    request_id: str
    deadline: Deadline
    stopwatch: Stopwatch
    metrics: Metrics
    log_fields: dict[str, Any] = field(default_factory=dict)
    outcome: str | None = None

    def fail(self, problem: str) -> None:
        """Note that the request as a whole was refused or failed, by the problem's slug."""
        self.outcome = problem
        self.metrics.request_failed(problem)


def attach_context(scope: Scope, context: RequestContext) -> None:
    """Give an ASGI scope its context."""
    scope[SCOPE_KEY] = context


def context_in(scope: Scope) -> RequestContext:
    """Give the context of an ASGI scope."""
    return cast("RequestContext", scope[SCOPE_KEY])


def context_of(request: Request) -> RequestContext:
    """Give the context of a request."""
    return context_in(request.scope)


def runtime_of(request: Request) -> Runtime:
    """Give the runtime of the application a request was sent to."""
    return cast("Runtime", request.app.state.runtime)
