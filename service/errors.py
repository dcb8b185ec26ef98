"""Domain errors of the service.

::

    CxrError
    ├── InputError                      the tree of cxr.errors: the fault of an image
    └── ServingError
        ├── InvalidRequestError         the request itself is malformed
        ├── UnauthorizedError           no credential, or none that is valid
        ├── ForbiddenError              a caller that may not do this
        ├── UnknownModelError           no loaded model has that name
        ├── VersionError                a change of versions that cannot be made
        │   ├── BrokenBundleError       the version cannot be loaded
        │   ├── VersionInUseError       requests depend on the version
        │   ├── LastModelError          nothing would be left to answer
        │   └── NoFormerVersionError    there is nothing to roll back to
        ├── ModelControlDisabledError   versions are not changed over HTTP here
        ├── PayloadTooLargeError        body or image count over a limit
        ├── RetryLaterError             a passing state, with a time to wait
        │   ├── QueueFullError          refused at the door, nothing was queued
        │   ├── RateLimitedError        a caller that asks too often
        │   ├── AccessUnavailableError  who asks cannot be told now
        │   └── NotReadyError           starting or draining
        ├── BodyTooSlowError            the client trickles its request
        ├── DeadlineExceededError       dropped, not run
        ├── InferenceFailedError        the engine failed, or its answer was not finite
        ├── ExplainDisabledError        explanations are not served here
        ├── ExplanationMismatchError    what was explained is not what was answered
        ├── DicomResultsDisabledError   reports are not served here, or not for this model
        ├── DicomResultError            no DICOM object could be made of a result
        ├── SomeImagesFailedError       an answer in which no failure can stand
        ├── NotAcceptableError          the client accepts no form an answer can have
        ├── ClientDisconnectedError     nobody is left to answer
        └── StartupError                the service cannot start; one line for its operator

None knows HTTP; ``service.web.problems`` maps them. A message may be shown to the client: it
says what was wrong and what to do, without file contents, patient data or exception text.
"""

from __future__ import annotations

from cxr.errors import CxrError


class ServingError(CxrError):
    """Base of every error the service itself raises on purpose."""


class InvalidRequestError(ServingError):
    """Malformed JSON, base64, multipart or query."""


class UnauthorizedError(ServingError):
    """Nobody knows who asks.

    Attributes:
        is_given: Whether a credential was shown, and is not valid.
    """

    def __init__(self, message: str, *, is_given: bool) -> None:
        super().__init__(message)
        self.is_given = is_given


class ForbiddenError(ServingError):
    """The caller is known and may not do this.

    Attributes:
        needed: The scopes of which it needs one.
    """

    def __init__(self, message: str, needed: frozenset[str]) -> None:
        super().__init__(message)
        self.needed = needed


class UnknownModelError(ServingError):
    """No model of that name is loaded."""


class VersionError(ServingError):
    """A change of versions cannot be made; nothing was changed."""


class BrokenBundleError(VersionError):
    """The bundle of a version cannot be loaded."""


class VersionInUseError(VersionError):
    """A version answers requests that do not name it, or is a shadow."""


class LastModelError(VersionError):
    """Without the model nothing would be left to answer."""


class NoFormerVersionError(VersionError):
    """No version answered before the present one."""


class ModelControlDisabledError(ServingError):
    """Versions are not changed over HTTP here."""


class PayloadTooLargeError(ServingError):
    """The body or the number of images is over its limit."""


class RetryLaterError(ServingError):
    """A passing state of the service.

    Attributes:
        retry_after_s: Whole seconds after which another try is sensible.
    """

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class QueueFullError(RetryLaterError):
    """There is no room for the request, and nothing of it was queued."""


class RateLimitedError(RetryLaterError):
    """The caller asks more often than it may."""


class AccessUnavailableError(RetryLaterError):
    """Who asks cannot be told: the identity provider's keys are not to be had."""


class NotReadyError(RetryLaterError):
    """The service is starting or draining."""


class BodyTooSlowError(ServingError):
    """The body came more slowly than the operator allows."""


class DeadlineExceededError(ServingError):
    """The request's time was over before its item was run; it never will be."""


class InferenceFailedError(ServingError):
    """The engine failed, or gave no finite numbers for this item."""


class ExplainDisabledError(ServingError):
    """This service gives no explanations."""


class ExplanationMismatchError(ServingError):
    """What was explained is not what was answered; no picture of it is given."""


class DicomResultsDisabledError(ServingError):
    """This service makes no DICOM reports, or has no codes for what the model finds."""


class DicomResultError(ServingError):
    """No DICOM object could be made of a result."""


class SomeImagesFailedError(ServingError):
    """Some images of many failed, and the form of the answer has no place for failures."""


class NotAcceptableError(ServingError):
    """The client accepts none of the media types an answer can have."""


class ClientDisconnectedError(ServingError):
    """The client went away before it was answered."""


class StartupError(ServingError):
    """The service cannot start. The message is one line for its operator."""
