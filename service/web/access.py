"""Who asks is settled first: before a route runs, and before any of the body is read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cxr.errors import CxrError
from service.access.access import Access
from service.access.caller import Caller, Credential
from service.access.scopes import ANY, Routes
from service.errors import UnauthorizedError
from service.telemetry.logs import log_event
from service.web.problems import problem_type_of

ELSEWHERE = "other"
TWICE = "More than one key was sent. Send one, as Authorization: Bearer KEY or X-API-Key: KEY."
NO_BEARER = "Authorization has no bearer token. Send Authorization: Bearer KEY."

Refuse = Callable[[Scope, CxrError], Response]


class RouteTable:
    """Finds what a request needs, by the rules the router goes by.

    Args:
        routes: Method and template of each route, with the scopes it needs.
    """

    def __init__(self, routes: Routes) -> None:
        self._compiled = [
            (method, template, compile_path(template)[0], needed)
            for (method, template), needed in routes.items()
        ]

    def find(self, scope: Scope) -> tuple[str, frozenset[str] | None]:
        """Give a request's template and the scopes of which it needs one.

        What is not in the table needs some scope: no route is open because it was forgotten.
        """
        path = _route_path(scope)
        for method, template, pattern, needed in self._compiled:
            if method == scope["method"] and pattern.match(path):
                return template, needed
        return ELSEWHERE, ANY


@dataclass(frozen=True)
class _Refused:
    """A route that was asked for and not run, for log and metrics."""

    path: str


class AccessMiddleware:
    """Lets in who may, answers who may not, and writes a line of either for the audit.

    Without credentials to tell callers apart there are no lines but of refusals: the line of
    the request says as much.

    Args:
        app: The application inside.
        access: Decides.
        routes: What each route needs.
        refuse: Gives the answer to a refused request.
        request_id_of: Gives what a request is called.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        routes: Routes,
        refuse: Refuse,
        request_id_of: Callable[[Scope], str],
    ) -> None:
        self._app = app
        self._access = access
        self._table = RouteTable(routes)
        self._refuse = refuse
        self._request_id_of = request_id_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._access.refresh()
        template, needed = self._table.find(scope)
        if needed is None:
            await self._app(scope, receive, send)
            return
        caller: Caller | None = None
        try:
            caller = await self._access.identify(
                None if self._access.is_anonymous else read_credential(Headers(scope=scope))
            )
            self._access.verify_allowed(caller, needed)
            self._access.take_turn(caller)
        except CxrError as error:
            outcome = problem_type_of(error).slug
            self._record(scope, template, needed, caller, outcome)
            scope["route"] = _Refused(template)
            await self._refuse(scope, error)(scope, receive, send)
            return
        if self._access.is_anonymous:
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
            self._record(scope, template, needed, caller, "allowed", status)

    def _record(
        self,
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
            request_id=self._request_id_of(scope),
            caller=caller.name if caller is not None else None,
            by=caller.by if caller is not None else None,
            scope=" ".join(sorted(needed)) if needed != ANY else "any",
            method=scope["method"],
            route=template,
            outcome=outcome,
            status=status,
        )


def read_credential(headers: Headers) -> Credential | None:
    """Read what a request shows; None if it shows nothing.

    Raises:
        UnauthorizedError: It shows several things, or something of another kind.
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


def _route_path(scope: Scope) -> str:
    """Give the path that routes are matched with: without the prefix a proxy leaves in it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root) and path[len(root) :][:1] in ("", "/"):
        return path[len(root) :]
    return path
