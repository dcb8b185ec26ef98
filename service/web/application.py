"""The application of both servers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from cxr import __version__
from cxr.errors import CxrError
from service.access.access import Access
from service.access.scopes import Routes
from service.errors import ClientDisconnectedError
from service.web.access import AccessMiddleware
from service.web.documented import add_access, add_schemas, drop_validation_errors, name_operation
from service.web.plain_route import PlainRoute
from service.web.problems import (
    CLIENT_CLOSED_REQUEST,
    INVALID_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    PAYLOAD_TOO_LARGE,
    ProblemType,
    build_problem,
)
from service.web.requests import RequestMiddleware, RequestRules, context_of


class _Routed(Protocol):
    router: APIRouter


class WebApplication(FastAPI):
    """FastAPI with access control, problems and a complete OpenAPI document.

    Args:
        modules: Their ``router`` is included.
        access: Who may ask for what.
        routes: Scopes that each route needs.
        rules: How requests are handled.
        index: Path that lists the routes.
        bodies: Schemas that no route has in its types.
        other_errors: Bodies of refusals that are not problems, by path prefix.
        **options: FastAPI's own.
    """

    def __init__(
        self,
        modules: Iterable[_Routed],
        *,
        access: Access,
        routes: Routes,
        rules: RequestRules,
        index: str,
        bodies: Sequence[type[BaseModel]],
        other_errors: Mapping[str, type[BaseModel]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            version=__version__,
            docs_url=None,  # FastAPI's pages need another host
            redoc_url=None,
            redirect_slashes=False,  # it would quote the Host header back
            generate_unique_id_function=name_operation,
            **options,
        )
        self._access, self._routes, self._rules, self._index = access, routes, rules, index
        self._bodies = bodies
        self._other_errors = other_errors or {}
        self._plain: list[PlainRoute] = []
        for module in modules:
            self.include_router(module.router)
            self._plain += [one for one in module.router.routes if isinstance(one, PlainRoute)]
        self.add_exception_handler(CxrError, self._on_domain_error)
        self.add_exception_handler(ClientDisconnectedError, self._on_disconnect)
        self.add_exception_handler(RequestValidationError, self._on_validation_error)
        self.add_exception_handler(HTTPException, self._on_http_exception)
        # The one added last is outermost.
        self.add_middleware(AccessMiddleware, access=access, routes=routes, rules=rules)
        self.add_middleware(RequestMiddleware, rules=rules)

    def build_middleware_stack(self) -> ASGIApp:
        """Build the layers of every request: FastAPI's own do what RequestMiddleware does.

        Of these only what closes files of forms is kept, for routes that FastAPI runs.
        """
        handlers = dict(self.exception_handlers)
        routed = AsyncExitStackMiddleware(self.router)
        plain = {one.path: one for one in self._plain}

        async def route(scope: Scope, receive: Receive, send: Send) -> None:
            one = plain.get(scope.get("path", ""))
            if one is not None and one.takes(scope):
                await one.answer_plain(scope, receive, send)
            else:
                await routed(scope, receive, send)

        app: ASGIApp = ExceptionMiddleware(route, handlers=handlers)
        for layer in reversed(self.user_middleware):
            app = layer.cls(app, *layer.args, **layer.kwargs)
        return app

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self.openapi_schema is None:
            document = super().openapi()
            drop_validation_errors(document)
            add_schemas(document, self._bodies)
            add_access(
                document,
                self._routes,
                is_needed=not self._access.is_anonymous,
                other_errors=self._other_errors,
            )
        return super().openapi()

    async def _on_domain_error(self, request: Request, error: Exception) -> Response:
        return self._rules.refuse(request.scope, error)

    async def _on_disconnect(self, request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    async def _on_validation_error(self, request: Request, error: Exception) -> Response:
        first = cast("RequestValidationError", error).errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        detail = f"The request is not valid at {where}: {first['msg']}."
        return self._refuse(request, INVALID_REQUEST, detail)

    async def _on_http_exception(self, request: Request, error: Exception) -> Response:
        given = cast("HTTPException", error)
        headers = dict(given.headers or {})
        match given.status_code:
            case 404:
                detail = f"There is nothing at this path. {self._index} lists all paths."
                return self._refuse(request, NOT_FOUND, detail, headers)
            case 405:
                if self._rules.answers_head:
                    headers["Allow"] = _with_implied_methods(headers.get("Allow", ""))
                    if request.method == "OPTIONS":  # RFC 9110, 9.3.7
                        return Response(status_code=204, headers=headers)
                detail = "This path supports other methods, which the Allow header lists."
                return self._refuse(request, METHOD_NOT_ALLOWED, detail, headers)
            case 413:
                detail = "The body is larger than accepted."
                return self._refuse(request, PAYLOAD_TOO_LARGE, detail, headers)
            case _:
                return self._refuse(
                    request, INVALID_REQUEST, "The request cannot be served.", headers
                )

    def _refuse(
        self,
        request: Request,
        kind: ProblemType,
        detail: str,
        headers: dict[str, str] | None = None,
    ) -> Response:
        context = context_of(request)
        context.timeline.fail(kind.slug)
        problem = build_problem(kind, detail, context.request_id)
        return self._rules.answer_problem(request.scope, problem, headers)


def _with_implied_methods(allow: str) -> str:
    methods = {method.strip() for method in allow.split(",") if method.strip()} | {"OPTIONS"}
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))
