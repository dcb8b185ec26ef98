"""Problems (RFC 9457) of domain errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from starlette.responses import JSONResponse, Response

from cxr import errors as inputs
from service import errors
from service.answers import Problem

MEDIA_TYPE = "application/problem+json"
TYPE_BASE = "/docs/problems#"
"""Types are relative references: the service does not know its public name."""

SERVER_FAULT = 500
"""Problems with this status or above are not the fault of an image."""

CLIENT_CLOSED_REQUEST = 499
"""nginx's status, for log and metrics only: nobody is left to read the response."""


@dataclass(frozen=True)
class ProblemType:
    """One kind of problem."""

    status: int
    slug: str
    title: str

    @property
    def type(self) -> str:
        """The stable URI reference."""
        return TYPE_BASE + self.slug


NOT_FOUND = ProblemType(404, "not-found", "No such page")
METHOD_NOT_ALLOWED = ProblemType(405, "method-not-allowed", "Method not allowed")
INTERNAL = ProblemType(500, "internal", "Internal error")
INVALID_REQUEST = ProblemType(400, "invalid-request", "Invalid request")
QUEUE_FULL = ProblemType(429, "queue-full", "Queue full")
PAYLOAD_TOO_LARGE = ProblemType(413, "payload-too-large", "Payload too large")

PROBLEM_TYPES: Mapping[type[Exception], ProblemType] = {
    errors.InvalidRequestError: INVALID_REQUEST,
    errors.UnauthorizedError: ProblemType(401, "unauthorized", "Unauthorized"),
    errors.ForbiddenError: ProblemType(403, "forbidden", "Forbidden"),
    errors.UnknownModelError: ProblemType(404, "unknown-model", "Unknown model"),
    errors.BrokenBundleError: ProblemType(409, "broken-bundle", "Broken bundle"),
    errors.VersionInUseError: ProblemType(409, "version-in-use", "Version in use"),
    errors.LastModelError: ProblemType(409, "last-model", "Last model"),
    errors.NoFormerVersionError: ProblemType(409, "no-former-version", "No former version"),
    errors.ModelControlDisabledError: ProblemType(
        501, "model-control-disabled", "Model control disabled"
    ),
    errors.BodyTooSlowError: ProblemType(408, "body-too-slow", "Body too slow"),
    errors.PayloadTooLargeError: PAYLOAD_TOO_LARGE,
    inputs.ImageTooLargeError: PAYLOAD_TOO_LARGE,
    errors.TooCostlyError: ProblemType(413, "too-costly", "Too costly"),
    inputs.UnsupportedMediaError: ProblemType(415, "unsupported-media", "Unsupported media"),
    inputs.UnreadableImageError: ProblemType(422, "unreadable-image", "Unreadable image"),
    inputs.UnsupportedDicomError: ProblemType(422, "unsupported-dicom", "Unsupported DICOM"),
    inputs.ImageOutOfScopeError: ProblemType(422, "image-out-of-scope", "Image out of scope"),
    inputs.UnfamiliarPopulationError: ProblemType(
        422, "unfamiliar-population", "Unfamiliar population"
    ),
    errors.QueueFullError: QUEUE_FULL,
    MemoryError: QUEUE_FULL,
    errors.RateLimitedError: ProblemType(429, "rate-limited", "Rate limited"),
    errors.AccessUnavailableError: ProblemType(503, "access-unavailable", "Access unavailable"),
    errors.InferenceFailedError: ProblemType(500, "inference-failed", "Inference failed"),
    errors.ExplanationMismatchError: ProblemType(
        500, "explanation-mismatch", "Explanation mismatch"
    ),
    errors.NotAcceptableError: ProblemType(406, "not-acceptable", "Not acceptable"),
    errors.ExplainDisabledError: ProblemType(501, "explain-disabled", "Explanations disabled"),
    errors.DicomResultsDisabledError: ProblemType(
        501, "dicom-results-disabled", "DICOM results disabled"
    ),
    errors.DicomResultError: ProblemType(500, "dicom-result-failed", "DICOM result failed"),
    errors.SomeImagesFailedError: ProblemType(422, "some-images-failed", "Some images failed"),
    errors.NotReadyError: ProblemType(503, "not-ready", "Not ready"),
    errors.DeadlineExceededError: ProblemType(504, "deadline-exceeded", "Deadline exceeded"),
}

ALL_PROBLEM_TYPES = frozenset({*PROBLEM_TYPES.values(), NOT_FOUND, METHOD_NOT_ALLOWED, INTERNAL})

CHALLENGE = 'Bearer realm="cxr-inference"'
NOT_VALID = ', error="invalid_token"'

INTERNAL_DETAIL = "Something went wrong in the service. Quote the request id when you report it."

NO_MEMORY = (
    "There was not enough memory for the request. Try again later, or send fewer or smaller images."
)
MEMORY_RETRY_AFTER_S = 1  # requests are done with theirs in well under a second


ProblemTypes: TypeAlias = Mapping[type[Exception], ProblemType]


def problem_type_of(error: Exception, types: ProblemTypes = PROBLEM_TYPES) -> ProblemType:
    """Return the problem of the nearest class that an error derives from."""
    for cls in type(error).__mro__:
        if issubclass(cls, Exception) and cls in types:
            return types[cls]
    return INTERNAL


def problem_of(error: Exception, request_id: str, types: ProblemTypes = PROBLEM_TYPES) -> Problem:
    """Return an error's problem, without the text of an unmapped error."""
    kind, detail = problem_type_of(error, types), str(error)
    if kind is INTERNAL:
        detail = INTERNAL_DETAIL
    elif isinstance(error, MemoryError):
        detail = NO_MEMORY
    return build_problem(kind, detail, request_id)


def build_problem(kind: ProblemType, detail: str, request_id: str) -> Problem:
    """Return a problem object of a kind."""
    return Problem(
        type=kind.type, title=kind.title, status=kind.status, detail=detail, request_id=request_id
    )


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response with a problem."""
    return JSONResponse(
        problem.model_dump(), problem.status, headers=headers, media_type=MEDIA_TYPE
    )


def error_response(error: Exception, request_id: str) -> Response:
    """Return the response to a failed request."""
    return problem_response(problem_of(error, request_id), error_headers(error))


def error_headers(error: Exception) -> dict[str, str] | None:
    """Return Retry-After or WWW-Authenticate (RFC 6750, 3), if needed."""
    if isinstance(error, errors.RetryLaterError):
        return {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, MemoryError):
        return {"Retry-After": str(MEMORY_RETRY_AFTER_S)}
    if isinstance(error, errors.UnauthorizedError):
        return {"WWW-Authenticate": CHALLENGE + (NOT_VALID if error.is_given else "")}
    if isinstance(error, errors.ForbiddenError):
        scope = " ".join(sorted(error.needed))
        return {"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_scope", scope="{scope}"'}
    return None
