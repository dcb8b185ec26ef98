"""The C library's allocator, for a process that takes and frees pieces of pictures all day."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)

KEPT_BYTES = 8 * 1024 * 1024
"""Blocks up to this size are used again when they are free. Left alone, the library gives those of
more than 128 KiB back to the system until it has learnt better, and fetches them page by page for
the next picture: a third of the time of drawing one. Larger ones are rare."""

TRIM_BYTES = 32 * 1024 * 1024
"""Free memory that is kept at the end of the heap, at most."""


def keep_freed_memory() -> None:
    """Have this process use freed memory again, where the C library can."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, TRIM_BYTES)
