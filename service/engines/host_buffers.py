"""Memory that batches are stacked in, used again and again."""

from __future__ import annotations

from collections import deque
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

BUFFERS = 3
"""One batch runs, the next one is formed, and formed again when a client left meanwhile."""


class HostBuffers:
    """Hands out arrays of one block of memory; each comes back when nobody holds it any more.

    Args:
        max_batch: Images of the largest batch.
        size_px: Side of a model input.
        count: Batches that may be held at a time without new memory.

    Attributes:
        block: All the memory, shape (count, max_batch, 1, S, S), uint8.
    """

    def __init__(self, max_batch: int, size_px: int, count: int = BUFFERS) -> None:
        self._image_shape = (1, size_px, size_px)
        self.block = np.zeros((count, max_batch, *self._image_shape), dtype=np.uint8)
        self._free = deque(self.block)

    def take(self, size: int) -> NDArray[np.uint8]:
        """Give an array to fill, shape (size, 1, S, S), uint8, of any content.

        It is the caller's for as long as the array itself is held; a slice of it does not count.
        If all are held, it is new memory. Any thread may call it.
        """
        try:
            buffer = self._free.popleft()
        except IndexError:
            return np.empty((size, *self._image_shape), dtype=np.uint8)
        batch = buffer[:size]
        finalize(batch, self._free.append, buffer).atexit = False
        return batch
