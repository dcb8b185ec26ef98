"""Domain errors of the gateway.

::

    ServingError
    ├── InsufficientStorageError
    ├── UnreadableObjectError
    ├── UnknownJobError
    ├── JobNotRetryableError
    ├── UnknownStudyError
    ├── SourceUnavailableError
    └── LeaseLostError

Clients see the messages: no patient data or exception text.
"""

from __future__ import annotations

from service.errors import RetryLaterError, ServingError


class InsufficientStorageError(RetryLaterError):
    """The disk is too full; nothing was stored."""


class UnreadableObjectError(ServingError):
    """Not DICOM, or UIDs are missing or malformed."""


class UnknownJobError(ServingError):
    """No job has that id."""


class JobNotRetryableError(ServingError):
    """The job is not dead, or its bytes are gone."""


class UnknownStudyError(ServingError):
    """The source has no such study."""


class SourceUnavailableError(ServingError):
    """The source is not configured, unreachable, or refuses."""


class LeaseLostError(ServingError):
    """Another worker took over."""
