"""Problems as the protocol's ``{"error": "..."}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from service.answers import Problem
from service.errors import InvalidRequestError
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


def answer_problem(
    scope: Scope, problem: Problem, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response in the path's protocol."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    if path != PREFIX and not path.startswith(PREFIX + "/"):
        return problem_response(problem, headers)
    body = ErrorAnswer(error=f"{problem.title}: {problem.detail}")
    return JSONResponse(body.model_dump(), problem.status, headers=headers)


def answer_image_failure(scope: Scope, index: int, error: Exception, request_id: str) -> Response:
    """Fail the request for one image."""
    problem = problem_of(error, request_id)
    told = build_problem(problem_type_of(error), f"Image {index}: {problem.detail}", request_id)
    return answer_problem(scope, told, error_headers(error))


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses for these statuses."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        titles = sorted(kind.title for kind in ALL_PROBLEM_TYPES if kind.status == status)
        responses[status] = {"model": ErrorAnswer, "description": "; ".join(titles)}
    return responses


def verify_no_query(request: Request) -> None:
    """Reject query parameters, which would be ignored."""
    if request.query_params:
        raise InvalidRequestError(
            "Query parameters are not supported here. The operating point is given in the body, as "
            "parameters.operating_point."
        )
