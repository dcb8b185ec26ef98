"""Domain errors shared by training, export and the service.

::

    CxrError
    ├── InputError                 the fault of what was given; safe to tell its sender
    │   ├── UnsupportedMediaError  not an image or DICOM, or no decoder here reads it
    │   ├── ImageTooLargeError     more pixels, or more of anything else, than is read
    │   ├── UnreadableImageError   truncated or corrupt
    │   ├── UnsupportedDicomError  no pixels, several frames, wrong modality
    │   └── ImageOutOfScopeError   readable, but not a picture the model may be asked about
    ├── DataError                  a data set's folder or files are not as they must be
    ├── RunError                   a run directory is missing, incomplete or of another kind
    ├── OutputError                a result cannot be written where it was asked for
    └── BundleError                a bundle is missing, incomplete, tampered with or too new

None knows HTTP; the service maps them. A message is one sentence or two that say what was
wrong and what to do, without file contents, patient data or text of a library's exception.
"""

from __future__ import annotations


class CxrError(Exception):
    """Base of every error this project raises on purpose."""


class InputError(CxrError):
    """An image that was given cannot be used. ``str(error)`` may be shown to its sender."""


class UnsupportedMediaError(InputError):
    """The bytes are not JPEG, PNG or DICOM, or use a transfer syntax that no decoder reads."""


class ImageTooLargeError(InputError):
    """More pixels, or more of anything else, than is read. Raised before it is paid for."""


class UnreadableImageError(InputError):
    """The bytes start like an image but are truncated or corrupt."""


class UnsupportedDicomError(InputError):
    """A DICOM object that is not one single-frame radiograph."""


class ImageOutOfScopeError(InputError):
    """A readable image the model may not be asked about."""


class DataError(CxrError):
    """A data set's folders or files are not as they must be."""


class RunError(CxrError):
    """A run directory is missing, incomplete or was made by something else."""


class OutputError(CxrError):
    """A result cannot be written where it was asked for; nothing there was changed."""


class BundleError(CxrError):
    """A bundle is missing, incomplete, tampered with or of another schema version."""
