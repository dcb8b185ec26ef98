"""What is said when there is no memory for an image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cxr.errors import ImageTooLargeError

NO_MEMORY = (
    "There was not enough memory to read the image. Send a smaller one, or fewer at a time; its "
    "operator can give the service more memory, or lower the number of pixels it accepts."
)


@contextmanager
def told_as_too_large() -> Iterator[None]:
    """Tell of exhausted memory as of an image that is too large; what was taken is free again.

    Raises:
        ImageTooLargeError: In place of MemoryError.
    """
    try:
        yield
    except MemoryError:
        raise ImageTooLargeError(NO_MEMORY) from None
