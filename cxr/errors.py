"""Domain errors shared by training, export and the service.

::

    CxrError
    ├── InputError                 the fault of what was given; safe to tell its sender
    │   ├── UnsupportedMediaError  not an image or DICOM, or no decoder here reads it
    │   ├── ImageTooLargeError     more pixels, or more of anything else, than is read
    │   ├── UnreadableImageError   truncated or corrupt
    │   ├── UnsupportedDicomError  no pixels, several frames, wrong modality
    │   └── ImageOutOfScopeError   readable, but not a picture the model may be asked about
    │       └── UnfamiliarPopulationError  a patient unlike those it was validated on
    ├── DataError                  a data set's folder or files are not as they must be
    ├── RunError                   a run directory is missing, incomplete or of another kind
    ├── OutputError                a result cannot be written; nothing was changed
    └── BundleError                a bundle is missing, incomplete, tampered with or too new

None knows HTTP. Messages hold no file contents, patient data or library exceptions.
"""

from __future__ import annotations


class CxrError(Exception):
    """Base of every deliberate error."""


class InputError(CxrError):
    """An image cannot be used; the message may be shown to its sender."""


class UnsupportedMediaError(InputError):
    """Unknown format or transfer syntax."""


class ImageTooLargeError(InputError):
    """Too large; raised before memory is allocated."""


class UnreadableImageError(InputError):
    """Truncated or corrupt image."""


class UnsupportedDicomError(InputError):
    """Not one single-frame radiograph."""


class ImageOutOfScopeError(InputError):
    """An image the model may not be asked about; ``code`` is a stable word for why."""

    def __init__(self, detail: str, code: str = "out-of-scope") -> None:
        super().__init__(detail)
        self.code = code


class UnfamiliarPopulationError(ImageOutOfScopeError):
    """A patient unlike those the model was validated on."""


class DataError(CxrError):
    """Unusable data set."""


class RunError(CxrError):
    """Unusable run directory."""


class OutputError(CxrError):
    """Result that cannot be written."""


class BundleError(CxrError):
    """Unusable bundle."""
