"""Domain errors of the gateway.

::

    ServingError
    ├── InsufficientStorageError    the disk is too full; nothing was stored
    ├── UnreadableObjectError       not DICOM, or UIDs are missing or malformed
    ├── UnknownJobError             no job has that id
    ├── JobNotRetryableError        the job is not dead, or its bytes are gone
    ├── UnknownStudyError           the source has no such study
    ├── SourceUnavailableError      the source is not configured, unreachable, or refuses
    └── LeaseLostError              another worker has taken the work over

Clients may see the messages: no file contents, patient data or exception text.
"""

from __future__ import annotations

from service.errors import RetryLaterError, ServingError


class InsufficientStorageError(RetryLaterError):
    """The disk is too full."""


class UnreadableObjectError(ServingError):
    """The object is not DICOM."""


class UnknownJobError(ServingError):
    """No job has that id."""


class JobNotRetryableError(ServingError):
    """The job is not retryable."""


class UnknownStudyError(ServingError):
    """The source has no such study."""


class SourceUnavailableError(ServingError):
    """The source is unavailable."""


class LeaseLostError(ServingError):
    """The lease ran out."""
