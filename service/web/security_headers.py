"""Headers that keep answers harmless in a browser and out of caches."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""For what does not say otherwise: an answer that is no page runs nothing and is framed nowhere."""

NO_STORE = "no-store"
"""For answers about patients, and for all others that no cache can ask anew by a validator."""


class SecurityHeadersMiddleware:
    """Gives each answer those of the headers it has not.

    Args:
        app: The application inside.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""

        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if "etag" not in headers:
                    headers.setdefault("Cache-Control", NO_STORE)
            await send(message)

        await self._app(scope, receive, send_safe if scope["type"] == "http" else send)
