"""What a route takes from its request."""

from __future__ import annotations

from typing import cast

from starlette.requests import Request

from service.models.runtime import Runtime


def runtime_of(request: Request) -> Runtime:
    """Return the runtime of the application a request was sent to."""
    return cast("Runtime", request.app.state.runtime)
