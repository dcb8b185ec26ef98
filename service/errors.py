"""Domain errors of the service. None knows HTTP; ``service.web.problems`` maps them.

::

    CxrError
    ├── InputError (cxr.errors)
    └── ServingError
        ├── InvalidRequestError, PayloadTooLargeError, BodyTooSlowError
        ├── UnauthorizedError, ForbiddenError
        ├── UnknownModelError, ModelControlDisabledError
        ├── VersionError
        │   └── BrokenBundleError, VersionInUseError, LastModelError, NoFormerVersionError
        ├── RetryLaterError
        │   └── QueueFullError, RateLimitedError, AccessUnavailableError, NotReadyError
        ├── DeadlineExceededError, TooCostlyError, ClientDisconnectedError, InferenceFailedError
        ├── ExplainDisabledError, ExplanationMismatchError, NotAcceptableError
        ├── DicomResultsDisabledError, DicomResultError, SomeImagesFailedError
        └── StartupError
            └── NothingExplainsError

A message may be shown to the client: what was wrong and what to do, without file contents, patient
data or exception text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cxr.errors import CxrError


class ServingError(CxrError):
    """Base of the service's own errors."""


class InvalidRequestError(ServingError):
    """Malformed JSON, base64, multipart or query."""


class UnauthorizedError(ServingError):
    """There is no valid credential; ``is_given`` tells whether one was sent."""

    def __init__(self, message: str, *, is_given: bool) -> None:
        super().__init__(message)
        self.is_given = is_given


class ForbiddenError(ServingError):
    """The caller has none of the ``needed`` scopes."""

    def __init__(self, message: str, needed: frozenset[str]) -> None:
        super().__init__(message)
        self.needed = needed


class UnknownModelError(ServingError):
    """No such model is loaded."""


class VersionError(ServingError):
    """A change of versions is impossible; nothing was changed."""


class BrokenBundleError(VersionError):
    """The bundle cannot be loaded."""


class VersionInUseError(VersionError):
    """The version is in force, or a shadow."""


class LastModelError(VersionError):
    """No model would be left."""


class NoFormerVersionError(VersionError):
    """There is no former version."""


class ModelControlDisabledError(ServingError):
    """Versions cannot be changed over HTTP."""


class PayloadTooLargeError(ServingError):
    """The body or number of images exceeds its limit."""


class RetryLaterError(ServingError):
    """A temporary state; retry after so many whole seconds."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFullError(RetryLaterError):
    """There is no room; nothing was queued."""


class RateLimitedError(RetryLaterError):
    """The caller exceeds its rate."""


class AccessUnavailableError(RetryLaterError):
    """The identity provider's keys are unavailable."""


class NotReadyError(RetryLaterError):
    """The service is starting or draining."""


class BodyTooSlowError(ServingError):
    """The body arrived too slowly."""


class DeadlineExceededError(ServingError):
    """The deadline passed before the run."""


class TooCostlyError(ServingError):
    """An image ended the process that read it, or took more than is given to one."""


class InferenceFailedError(ServingError):
    """The engine failed, or an output was not finite."""


class ExplainDisabledError(ServingError):
    """Explanations are not served."""


class ExplanationMismatchError(ServingError):
    """The explained output differs from the answer."""


class DicomResultsDisabledError(ServingError):
    """Reports are not served, or have no code for the finding."""


class DicomResultError(ServingError):
    """No DICOM object could be built."""


class SomeImagesFailedError(ServingError):
    """Some images failed, and the format has no place for failures."""


class NotAcceptableError(ServingError):
    """No format of the answer is accepted by the client."""


class ClientDisconnectedError(ServingError):
    """The client went away."""


class StartupError(ServingError):
    """The service cannot start. The message is one line for its operator."""


class WorkersEndedError(StartupError):
    """The processes that should load something ended at it."""


class NothingExplainsError(StartupError):
    """Neither PyTorch nor a graph explains a model, and nobody insisted on one of them."""


@dataclass(frozen=True)
class Failure:
    """A deliberate error, on its way: some cannot be made of their message alone."""

    kind: type[CxrError]
    arguments: tuple[Any, ...]
    state: dict[str, Any]

    @classmethod
    def of(cls, error: CxrError) -> Failure:
        """Take an error apart."""
        return cls(type(error), error.args, dict(vars(error)))

    def restore(self) -> CxrError:
        """Put it together again."""
        error = self.kind.__new__(self.kind, *self.arguments)
        vars(error).update(self.state)
        return error
