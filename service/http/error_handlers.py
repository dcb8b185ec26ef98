"""Every exception of a route becomes a problem response, in the form of the protocol asked in."""

from __future__ import annotations

from typing import cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from cxr.errors import CxrError
from service.errors import ClientDisconnectedError
from service.http.v2.errors import answer_error, answer_problem
from service.web.problems import (
    CLIENT_CLOSED_REQUEST,
    INVALID_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    PAYLOAD_TOO_LARGE,
    ProblemType,
    build_problem,
    slug_of,
)
from service.web.requests import context_of

_BY_STATUS = {
    404: (NOT_FOUND, "There is nothing at this path. /docs lists what there is."),
    405: (METHOD_NOT_ALLOWED, "This path takes other methods; the Allow header names them."),
    413: (PAYLOAD_TOO_LARGE, "The body is larger than accepted."),
}


def install_error_handlers(app: FastAPI) -> None:
    """Register the handlers of all exceptions that are raised on purpose."""
    app.add_exception_handler(CxrError, _on_domain_error)
    app.add_exception_handler(ClientDisconnectedError, _on_disconnect)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


async def _on_domain_error(request: Request, error: Exception) -> Response:
    context = context_of(request)
    context.timeline.fail(slug_of(error), error)
    return answer_error(request.scope, error, context.request_id)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    first = cast("RequestValidationError", error).errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    detail = f"The request is not valid at {where}: {first['msg']}."
    return _answer(request, INVALID_REQUEST, detail)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Answer for the router itself: unknown paths and methods."""
    given = cast("HTTPException", error)
    headers = dict(given.headers or {})
    if given.status_code == 405:
        headers["Allow"] = _with_implied_methods(headers.get("Allow", ""))
        if request.method == "OPTIONS":  # RFC 9110, 9.3.7
            return Response(status_code=204, headers=headers)
    kind, detail = _BY_STATUS.get(
        given.status_code, (INVALID_REQUEST, "The request cannot be served.")
    )
    return _answer(request, kind, detail, headers)


def answer_uncaught(scope: Scope, error: Exception) -> Response:
    """Return the answer to a request whose exception no handler took."""
    return answer_error(scope, error, context_of(scope).request_id)


def refuse_at_the_door(scope: Scope, error: CxrError) -> Response:
    """Give the answer to a request that no route has seen, and count it."""
    context = context_of(scope)
    context.timeline.fail(slug_of(error), error)
    return answer_error(scope, error, context.request_id)


def _answer(
    request: Request, kind: ProblemType, detail: str, headers: dict[str, str] | None = None
) -> Response:
    context = context_of(request)
    context.timeline.fail(kind.slug)
    problem = build_problem(kind, detail, context.request_id)
    return answer_problem(request.scope, problem, headers)


def _with_implied_methods(allow: str) -> str:
    methods = {method.strip() for method in allow.split(",") if method.strip()} | {"OPTIONS"}
    if "GET" in methods:
        methods.add("HEAD")
    return ", ".join(sorted(methods))
