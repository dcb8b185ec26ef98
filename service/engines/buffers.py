"""Batch memory on a device, allocated once."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cxr.bundles.manifest import Manifest
from service.engines.buckets import bucket_of
from service.engines.placement import Placement

HOST_BUFFERS = 3
"""One batch runs, the next one is formed, and formed again when a client left meanwhile."""

GRAPH_ID = "gpu_graph_id"
"""Run option that names a CUDA graph; 0 is the default one, -1 none."""


class HostBuffers:
    """Hands out arrays of one block; each returns once nobody holds it.

    Attributes:
        block: Shape (count, max_batch, 1, S, S), uint8.
    """

    def __init__(self, max_batch: int, size_px: int, count: int = HOST_BUFFERS) -> None:
        self._image_shape = (1, size_px, size_px)
        self.block = np.zeros((count, max_batch, *self._image_shape), dtype=np.uint8)
        self._free = deque(self.block)

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return an array to fill, shape (size, 1, S, S), uint8. Any thread.

        Hold the array itself, not only a slice. If all are held, memory is allocated.
        """
        try:
            buffer = self._free.popleft()
        except IndexError:
            return np.empty((size, *self._image_shape), dtype=np.uint8)
        batch = buffer[:size]
        finalize(batch, self._free.append, buffer).atexit = False
        return batch


class _Bound(NamedTuple):
    image: Any  # (B, 1, S, S), uint8
    outputs: tuple[Any, ...]  # logits (B, K), probabilities (B, K), embedding (B, D), float32
    binding: Any
    options: Any  # of a run


class BoundSession:
    """Runs a session on buffers allocated once per bucket.

    A bucket's first run captures a CUDA graph, replayed at the same addresses. ONNX Runtime keeps
    graphs by thread: call from one only.
    """

    def __init__(
        self, session: Any, manifest: Manifest, buckets: Sequence[int], placement: Placement
    ) -> None:
        names, classes = manifest.tensors, len(manifest.task.classes)
        size = manifest.preprocessing.size_px
        self._session = session
        self._image = names.image
        self._image_shape = (1, size, size)
        self._widths = {
            names.logits: classes,
            names.probabilities: classes,
            names.embedding: names.embedding_size,
        }
        self._buckets = tuple(buckets)
        self._placement = placement
        self._bound = {
            bucket: self._bind(bucket, number) for number, bucket in enumerate(buckets, 1)
        }

    def _bind(self, bucket: int, number: int) -> _Bound:
        image = self._new_value((bucket, *self._image_shape), np.uint8)
        outputs = {
            name: self._new_value((bucket, width), np.float32)
            for name, width in self._widths.items()
        }
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._image, image)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        options = ort.RunOptions()
        if self._placement.graphs:
            options.add_run_config_entry(GRAPH_ID, str(number))
        return _Bound(image, tuple(outputs.values()), binding, options)

    def _new_value(self, shape: tuple[int, ...], dtype: type) -> Any:
        where = self._placement
        return ort.OrtValue.ortvalue_from_shape_and_type(
            shape, dtype, where.memory, where.device_id
        )

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """Run model inputs (N, 1, S, S), uint8, padded with black to the next bucket.

        Return copies of logits (N, K), probabilities (N, K) and embedding (N, D), float32.
        """
        count = len(images)
        bucket = bucket_of(count, self._buckets)
        bound = self._bound[bucket]
        if count < bucket:
            padded = np.zeros((bucket, *self._image_shape), dtype=np.uint8)
            padded[:count] = images
            images = padded
        bound.image.update_inplace(images)
        self._session.run_with_iobinding(bound.binding, bound.options)
        # Copied: on a CPU numpy() is a view of the buffer, which the next run overwrites.
        return tuple(value.numpy()[:count].copy() for value in bound.outputs)
