"""What routes take from their request."""

from __future__ import annotations

from typing import cast

from starlette.requests import Request

from service.gateway.gateway import Gateway
from service.gateway.http.threads import Outlook, Pulls, Threads


def gateway_of(request: Request) -> Gateway:
    """Return the request's gateway."""
    return cast("Gateway", request.app.state.gateway)


def storing_of(request: Request) -> Threads:
    """Return the storing threads."""
    return cast("Threads", request.app.state.storing)


def pulls_of(request: Request) -> Pulls:
    """Return the pulling threads."""
    return cast("Pulls", request.app.state.pulls)


async def look(request: Request) -> Gateway:
    """Return the gateway, its state refreshed if that is immediate."""
    await cast("Outlook", request.app.state.outlook).look()
    return gateway_of(request)
