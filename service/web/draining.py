"""Connections that end with their next answer once the service is being stopped."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.lifecycle import Lifecycle


class DrainingMiddleware:
    """Says ``Connection: close`` while draining (RFC 9112, 9.6).

    A client or proxy that keeps connections goes to another replica with its next request, and
    none is left that might send one at the very moment this process closes what is idle.

    Args:
        app: The application inside.
        lifecycle: Says when.
    """

    def __init__(self, app: ASGIApp, lifecycle: Lifecycle) -> None:
        self._app = app
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and self._lifecycle.state == "draining":
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_last)
