"""Do two engines give the same answers?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cxr.bundles.manifest import Parity
from cxr.errors import BundleError
from export.engine import ExportEngine

BATCH_SIZES = (1, 3, 8)
EMBEDDING_TOLERANCE = 1e-3  # its numbers are larger than logits, and it only feeds the scope gate
LOGIT_TOLERANCE = 1e-4  # float32 sums in another order; measured differences are near 1e-5


def measure_parity(
    reference: ExportEngine, candidate: ExportEngine, images: NDArray[np.uint8]
) -> Parity:
    """Compare two engines at several batch sizes.

    Args:
        reference: PyTorch.
        candidate: ONNX Runtime.
        images: At least ``max(BATCH_SIZES)`` model inputs, (N, 1, S, S).

    Raises:
        BundleError: Logits or embeddings differ by more than the tolerance.
    """
    gaps = []
    for size in BATCH_SIZES:
        expected, given = reference.run(images[:size]), candidate.run(images[:size])
        gaps.append([np.abs(e - g).max() for e, g in zip(expected, given, strict=True)])
    # NumPy's max keeps a NaN, which Python's may drop.
    logit_gap, probability_gap, embedding_gap = (float(gap) for gap in np.max(gaps, axis=0))
    if not logit_gap <= LOGIT_TOLERANCE:  # also true for NaN
        raise BundleError(
            f"PyTorch and ONNX Runtime disagree: logits differ by {logit_gap:.2e}, "
            f"allowed are {LOGIT_TOLERANCE:.0e}."
        )
    if not embedding_gap <= EMBEDDING_TOLERANCE:
        raise BundleError(
            f"PyTorch and ONNX Runtime disagree: embeddings differ by {embedding_gap:.2e}, "
            f"allowed are {EMBEDDING_TOLERANCE:.0e}."
        )
    return Parity(
        batch_sizes=BATCH_SIZES,
        tolerance=LOGIT_TOLERANCE,
        max_logit_difference=logit_gap,
        max_probability_difference=probability_gap,
        max_embedding_difference=embedding_gap,
    )
