"""Problems in this protocol's form, ``{"error": "..."}``.

The table of :mod:`service.web.problems` decides status and words here as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from service.answers import Problem
from service.http.v2.wire import ErrorAnswer
from service.web.problems import (
    ALL_PROBLEM_TYPES,
    build_problem,
    error_headers,
    problem_of,
    problem_response,
    problem_type_of,
)

PREFIX = "/v2"


def speaks_v2(scope: Scope) -> bool:
    """Whether a request is one of this protocol, by its path."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    return path == PREFIX or path.startswith(PREFIX + "/")


def answer_problem(
    scope: Scope, problem: Problem, headers: Mapping[str, str] | None = None
) -> Response:
    """Give the response that carries a problem, in the form the request's protocol has."""
    if not speaks_v2(scope):
        return problem_response(problem, headers)
    body = ErrorAnswer(error=f"{problem.title}: {problem.detail}")
    return JSONResponse(body.model_dump(), problem.status, headers=headers)


def answer_error(scope: Scope, error: Exception, request_id: str) -> Response:
    """Give the response to a request that failed as a whole."""
    return answer_problem(scope, problem_of(error, request_id), error_headers(error))


def answer_image_failure(scope: Scope, index: int, error: Exception, request_id: str) -> Response:
    """Give the response to a request one of whose images failed: the protocol has no other."""
    problem = problem_of(error, request_id)
    told = build_problem(problem_type_of(error), f"Image {index}: {problem.detail}", request_id)
    return answer_problem(scope, told, error_headers(error))


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Give the OpenAPI responses of the problems with these statuses."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        titles = sorted(kind.title for kind in ALL_PROBLEM_TYPES if kind.status == status)
        responses[status] = {"model": ErrorAnswer, "description": "; ".join(titles)}
    return responses
