"""Problems (RFC 9457) of the gateway only."""

from __future__ import annotations

from typing import Any

from service.gateway import errors
from service.web.documented import problem_responses
from service.web.problems import ALL_PROBLEM_TYPES, ProblemType, ProblemTypes

GATEWAY_PROBLEM_TYPES: ProblemTypes = {
    errors.InsufficientStorageError: ProblemType(
        507, "insufficient-storage", "Insufficient storage"
    ),
    errors.UnknownJobError: ProblemType(404, "unknown-job", "Unknown job"),
    errors.JobNotRetryableError: ProblemType(409, "job-not-retryable", "Job not retryable"),
    errors.UnknownStudyError: ProblemType(404, "unknown-study", "Unknown study"),
    errors.SourceUnavailableError: ProblemType(502, "source-unavailable", "Source unavailable"),
}


def gateway_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses for these statuses."""
    kinds = {*ALL_PROBLEM_TYPES, *GATEWAY_PROBLEM_TYPES.values()}
    return problem_responses(*statuses, kinds=kinds)
