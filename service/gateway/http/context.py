"""What a route needs of its application."""

from __future__ import annotations

from typing import cast

from starlette.requests import Request

from service.gateway.gateway import Gateway


def gateway_of(request: Request) -> Gateway:
    """Give the gateway a request was sent to."""
    return cast("Gateway", request.app.state.gateway)
