"""How far one engine's answers lie from another's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.manifest import Rounding
from cxr.errors import BundleError
from export.engine import EngineAnswer, ExportEngine

GOLDENS_FACTOR = 3.0
"""Flat and noisy goldens take activations to where no radiograph does. A wrong graph is off by the
length of an embedding."""

SHORTEST = 1e-6  # an embedding this short is as good as zero


def compare(
    reference: Sequence[EngineAnswer], candidate: Sequence[EngineAnswer]
) -> tuple[Rounding, Rounding]:
    """Give the largest and the mean difference over all rows."""
    gaps = np.concatenate(
        [_gaps(one, other) for one, other in zip(reference, candidate, strict=True)]
    )
    # NumPy's max keeps a NaN, which Python's may drop.
    return _as_rounding(gaps.max(axis=0)), _as_rounding(gaps.mean(axis=0))


def verify_goldens_rounded(
    reference: ExportEngine, candidate: ExportEngine, images: NDArray[np.uint8], usual: Rounding
) -> Rounding:
    """Compare two engines on the goldens' model inputs (N, 1, S, S), each alone.

    Args:
        reference: PyTorch.
        candidate: An engine in a precision that rounds.
        images: The model inputs.
        usual: What the precision may change on radiographs.

    Raises:
        BundleError: They differ by more than ``GOLDENS_FACTOR`` times that.
    """
    answers = [[engine.run(i[np.newaxis]) for i in images] for engine in (reference, candidate)]
    largest, _ = compare(*answers)
    allowed = usual.times(GOLDENS_FACTOR)
    if part := largest.exceeds(allowed):
        raise BundleError(
            f"The answers differ from PyTorch's by more than rounding: {part} by "
            f"{getattr(largest, part):.2g}, allowed are {getattr(allowed, part):.2g}."
        )
    return largest


def _gaps(one: EngineAnswer, other: EngineAnswer) -> NDArray[np.float32]:
    length = np.maximum(np.linalg.norm(one.embedding, axis=1), SHORTEST)
    return np.stack(
        [
            np.abs(one.logits - other.logits).max(axis=1),
            np.abs(one.probabilities - other.probabilities).max(axis=1),
            np.linalg.norm(one.embedding - other.embedding, axis=1) / length,
        ],
        axis=1,
    )


def _as_rounding(gaps: NDArray[np.float32]) -> Rounding:
    logits, probabilities, embedding = map(float, gaps)
    return Rounding(logits=logits, probabilities=probabilities, embedding=embedding)
