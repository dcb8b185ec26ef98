"""HEAD, and what is polled."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
