"""A session whose inputs and outputs stay where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from cxr.bundles.manifest import Manifest
from service.engines.buckets import bucket_of
from service.engines.placement import Placement

GRAPH_ID = "gpu_graph_id"
"""Run option that names a CUDA graph; 0 is the default one, -1 none."""


@dataclass(frozen=True)
class Buffers:
    """What one bucket runs on.

    Attributes:
        image: The input, shape (B, 1, S, S), uint8.
        outputs: Logits, probabilities and embedding, shapes (B, K), (B, K) and (B, D), float32.
        binding: Binds the session to them.
        options: Of a run.
    """

    image: Any
    outputs: tuple[Any, ...]
    binding: Any
    options: Any


class BoundSession:
    """Runs a session on buffers made once per bucket: nothing is allocated in a run.

    A CUDA graph is captured at a bucket's first run and replays the same addresses from then on.
    ONNX Runtime keeps graphs by thread, so all calls must come from one thread.

    Args:
        session: The session.
        manifest: Names and sizes of the graph's tensors.
        buckets: Batch sizes, in ascending order.
        placement: What the session was opened with.
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
        self._buffers = {
            bucket: self._bind(bucket, number) for number, bucket in enumerate(buckets, 1)
        }

    def _bind(self, bucket: int, number: int) -> Buffers:
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
        return Buffers(image, tuple(outputs.values()), binding, options)

    def _new_value(self, shape: tuple[int, ...], dtype: type) -> Any:
        where = self._placement
        return ort.OrtValue.ortvalue_from_shape_and_type(
            shape, dtype, where.memory, where.device_id
        )

    def run(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], ...]:
        """Answer for model inputs.

        Args:
            images: Shape (N, 1, S, S), uint8; filled up with black to the next bucket.

        Returns:
            Logits (N, K), probabilities (N, K) and embedding (N, D), float32, which no later run
            changes.

        Raises:
            ValueError: More images than the largest bucket.
        """
        count = len(images)
        bucket = bucket_of(count, self._buckets)
        buffers = self._buffers[bucket]
        if count < bucket:
            padded = np.zeros((bucket, *self._image_shape), dtype=np.uint8)
            padded[:count] = images
            images = padded
        buffers.image.update_inplace(images)
        self._session.run_with_iobinding(buffers.binding, buffers.options)
        # Copied: on a CPU numpy() is a view of the buffer, which the next run overwrites.
        return tuple(value.numpy()[:count].copy() for value in buffers.outputs)
