"""Access control before any of the body is read."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cxr.errors import CxrError
from service.access.access import Access
from service.access.caller import Caller, Credential
from service.access.scopes import ANY, Routes
from service.errors import UnauthorizedError
from service.telemetry.logs import log_event
from service.web.requests import RequestRules, context_of

ELSEWHERE = "other"
TWICE = "More than one key was sent. Send one, as Authorization: Bearer KEY or X-API-Key: KEY."
NO_BEARER = "Authorization has no bearer token. Send Authorization: Bearer KEY."


class RouteTable:
    """Finds the scopes of a request, matching paths as the router does."""

    def __init__(self, routes: Routes) -> None:
        self._plain = {route: (route[1], needed) for route, needed in routes.items()}
        self._compiled = [
            (method, template, compile_path(template)[0], needed)
            for (method, template), needed in routes.items()
        ]

    def find(self, scope: Scope) -> tuple[str, frozenset[str] | None]:
        """Return a request's template and the scopes of which it needs one.

        Unlisted routes need some scope.
        """
        path: str = scope["path"]
        root: str = scope.get("root_path", "")
        if root and path.startswith(root) and path[len(root) :][:1] in ("", "/"):
            path = path[len(root) :]  # the prefix that a proxy leaves in it
        if (found := self._plain.get((scope["method"], path))) is not None:
            return found
        for method, template, pattern, needed in self._compiled:
            if method == scope["method"] and pattern.match(path):
                return template, needed
        return ELSEWHERE, ANY


@dataclass(frozen=True)
class _Refused:
    path: str


class AccessMiddleware:
    """Admits or refuses callers, auditing both; without credentials only refusals."""

    def __init__(self, app: ASGIApp, access: Access, routes: Routes, rules: RequestRules) -> None:
        self._app = app
        self._access = access
        self._is_anonymous = access.is_anonymous
        self._table = RouteTable(routes)
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        access = self._access
        access.refresh()
        template, needed = self._table.find(scope)
        if needed is None:
            await self._app(scope, receive, send)
            return
        caller: Caller | None = None
        try:
            credential = None if self._is_anonymous else read_credential(Headers(scope=scope))
            caller = await access.identify(credential)
            access.verify_allowed(caller, needed)
            access.take_turn(caller)
        except CxrError as error:
            answer, outcome = self._rules.refuse(scope, error), self._rules.slug_of(error)
            _record(scope, template, needed, caller, outcome)
            scope["route"] = _Refused(template)
            await answer(scope, receive, send)
            return
        if self._is_anonymous:
            await self._app(scope, receive, send)
            return
        status: int | None = None

        async def send_noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        finally:
            _record(scope, template, needed, caller, "allowed", status)


def _record(
    scope: Scope,
    template: str,
    needed: frozenset[str],
    caller: Caller | None,
    outcome: str,
    status: int | None = None,
) -> None:
    log_event(
        logging.INFO if outcome == "allowed" else logging.WARNING,
        "audit",
        request_id=context_of(scope).request_id,
        caller=caller.name if caller is not None else None,
        by=caller.by if caller is not None else None,
        scope=" ".join(sorted(needed)) if needed != ANY else "any",
        method=scope["method"],
        route=template,
        outcome=outcome,
        status=status,
    )


def read_credential(headers: Headers) -> Credential | None:
    """Return the credential of a request, if any.

    Raises:
        UnauthorizedError: It has several, or one of another kind.
    """
    bearers, keys = headers.getlist("authorization"), headers.getlist("x-api-key")
    if len(bearers) + len(keys) > 1:
        raise UnauthorizedError(TWICE, is_given=True)
    if keys:
        return Credential(keys[0].strip(), is_bearer=False)
    if not bearers:
        return None
    kind, _, secret = bearers[0].strip().partition(" ")
    if kind.lower() != "bearer" or not secret.strip():
        raise UnauthorizedError(NO_BEARER, is_given=True)
    return Credential(secret.strip(), is_bearer=True)
