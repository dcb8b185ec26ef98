"""What a route needs of its application."""

from __future__ import annotations

from typing import cast

from starlette.requests import Request

from service.gateway.gateway import Gateway
from service.gateway.http.threads import Outlook, Pulls, Threads


def gateway_of(request: Request) -> Gateway:
    """Give the gateway a request was sent to."""
    return cast("Gateway", request.app.state.gateway)


def storing_of(request: Request) -> Threads:
    """Give the threads that take objects."""
    return cast("Threads", request.app.state.storing)


def pulls_of(request: Request) -> Pulls:
    """Give the threads that pull studies."""
    return cast("Pulls", request.app.state.pulls)


async def look(request: Request) -> Gateway:
    """Give the gateway with its state as new as can be had at once."""
    await cast("Outlook", request.app.state.outlook).look()
    return gateway_of(request)
