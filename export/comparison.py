"""Differences between engines' answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.manifest import Parity, Rounding
from cxr.errors import BundleError
from export.engines import Outputs, Runner

BATCH_SIZES = (1, 3, 8)
EMBEDDING_TOLERANCE = 1e-3  # its numbers are larger than logits, and it only feeds the scope gate
LOGIT_TOLERANCE = 1e-4  # float32 sums in another order; measured differences are near 1e-5

GOLDENS_FACTOR = 3.0
"""Flat and noisy goldens take activations to where no radiograph does. A wrong graph is off by the
length of an embedding."""

SHORTEST = 1e-6  # an embedding this short is as good as zero


def measure_parity(reference: Runner, candidate: Runner, images: NDArray[np.uint8]) -> Parity:
    """Compare ONNX Runtime with PyTorch at ``BATCH_SIZES``; BundleError if they disagree."""
    gaps = []
    for size in BATCH_SIZES:
        expected, given = reference.run(images[:size]), candidate.run(images[:size])
        gaps.append([np.abs(e - g).max() for e, g in zip(expected, given, strict=True)])
    # NumPy's max keeps a NaN, which Python's may drop.
    logit_gap, probability_gap, embedding_gap = (float(gap) for gap in np.max(gaps, axis=0))
    for what, gap, allowed in (
        ("logits", logit_gap, LOGIT_TOLERANCE),
        ("embeddings", embedding_gap, EMBEDDING_TOLERANCE),
    ):
        if not gap <= allowed:  # also true for NaN
            raise BundleError(
                f"PyTorch and ONNX Runtime disagree: {what} differ by {gap:.2e}; at most "
                f"{allowed:.0e} is allowed."
            )
    return Parity(
        batch_sizes=BATCH_SIZES,
        tolerance=LOGIT_TOLERANCE,
        max_logit_difference=logit_gap,
        max_probability_difference=probability_gap,
        max_embedding_difference=embedding_gap,
    )


def compare(
    reference: Sequence[Outputs], candidate: Sequence[Outputs]
) -> tuple[Rounding, Rounding]:
    """Return the largest and the mean difference."""
    gaps = np.concatenate(
        [_gaps(one, other) for one, other in zip(reference, candidate, strict=True)]
    )
    largest, mean = gaps.max(axis=0), gaps.mean(axis=0)  # NumPy's max keeps a NaN
    names = Rounding.model_fields
    return (
        Rounding(**dict(zip(names, map(float, largest), strict=True))),
        Rounding(**dict(zip(names, map(float, mean), strict=True))),
    )


def _gaps(one: Outputs, other: Outputs) -> NDArray[np.float32]:
    length = np.maximum(np.linalg.norm(one.embedding, axis=1), SHORTEST)
    return np.stack(
        [
            np.abs(one.logits - other.logits).max(axis=1),
            np.abs(one.probabilities - other.probabilities).max(axis=1),
            np.linalg.norm(one.embedding - other.embedding, axis=1) / length,
        ],
        axis=1,
    )


def verify_goldens_rounded(
    reference: Runner, candidate: Runner, images: NDArray[np.uint8], usual: Rounding
) -> Rounding:
    """Compare an engine that rounds with PyTorch; BundleError if too far apart."""
    answers = [[engine.run(i[np.newaxis]) for i in images] for engine in (reference, candidate)]
    largest, _ = compare(*answers)
    allowed = usual.times(GOLDENS_FACTOR)
    if part := largest.exceeds(allowed):
        raise BundleError(
            f"The answers differ from PyTorch's by more than rounding: {part} by "
            f"{getattr(largest, part):.2g}; at most {getattr(allowed, part):.2g} is allowed."
        )
    return largest
