"""Domain errors of the gateway.

::

    ServingError
    ├── InsufficientStorageError    the spool has no room; nothing was kept
    ├── UnreadableObjectError       what came is no DICOM object that can be filed
    ├── UnknownJobError             no job has that id
    ├── JobNotRetryableError        the job is not dead, or its bytes are gone
    ├── UnknownStudyError           the source has no such study
    ├── SourceUnavailableError      the source did not give the study
    └── LeaseLostError              another gateway has taken the work over

A message may be shown to the client: no file contents, patient data or exception text.
"""

from __future__ import annotations

from service.errors import RetryLaterError, ServingError


class InsufficientStorageError(RetryLaterError):
    """The spool is as full as it may be, and nothing of the object was kept."""


class UnreadableObjectError(ServingError):
    """The object cannot be filed: no DICOM, or without the UIDs it is filed under."""


class UnknownJobError(ServingError):
    """No job has that id."""


class JobNotRetryableError(ServingError):
    """The job is not a dead letter, or its bytes are gone."""


class UnknownStudyError(ServingError):
    """The source has no such study."""


class SourceUnavailableError(ServingError):
    """The source of studies is not configured, not reached, or refuses."""


class LeaseLostError(ServingError):
    """The work took longer than its lease, and another worker has it now."""
