"""The gateway's errors as RFC 9457 problems; those it shares with the service are the service's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from service.gateway import errors
from service.web.documented import problem_responses
from service.web.problems import (
    ALL_PROBLEM_TYPES,
    ProblemType,
    build_problem,
    error_headers,
    problem_of,
    problem_response,
    problem_type_of,
)
from service.web.requests import RequestContext

GATEWAY_PROBLEM_TYPES: Mapping[type[Exception], ProblemType] = {
    errors.InsufficientStorageError: ProblemType(
        507, "insufficient-storage", "Insufficient storage"
    ),
    errors.UnknownJobError: ProblemType(404, "unknown-job", "Unknown job"),
    errors.JobNotRetryableError: ProblemType(409, "job-not-retryable", "Job not retryable"),
    errors.UnknownStudyError: ProblemType(404, "unknown-study", "Unknown study"),
    errors.SourceUnavailableError: ProblemType(502, "source-unavailable", "Source unavailable"),
}


def gateway_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Give the OpenAPI responses of the gateway's problems with these statuses."""
    kinds = {*ALL_PROBLEM_TYPES, *GATEWAY_PROBLEM_TYPES.values()}
    return problem_responses(*statuses, kinds=kinds)


def gateway_slug_of(error: Exception) -> str:
    """Return the slug of the problem of an error."""
    return (GATEWAY_PROBLEM_TYPES.get(type(error)) or problem_type_of(error)).slug


def answer_error(error: Exception, context: RequestContext) -> Response:
    """Return the response to a request that failed."""
    ours, request_id = GATEWAY_PROBLEM_TYPES.get(type(error)), context.request_id
    context.timeline.fail(gateway_slug_of(error), error)
    if ours is not None:
        problem = build_problem(ours, str(error), request_id)
    else:
        problem = problem_of(error, request_id)
    return problem_response(problem, error_headers(error))
