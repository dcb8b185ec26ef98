"""KID: how far generated images are from real ones, in a space of features.

Source: Binkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs", ICLR 2018: the squared
maximum mean discrepancy under the kernel (x y / d + 1)^3, estimated without bias, so it is about
0 for two sets of the same distribution and may be negative.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from cxr.section import Section

Features: TypeAlias = NDArray[np.float32]


class Kid(Section):
    """KID with what it owes to the draw.

    Attributes:
        value: Mean over subsets.
        standard_error: Standard deviation over the subsets by the root of their number. The
            subsets overlap, so it is that of drawing them, not of the images themselves.
    """

    value: float
    standard_error: float


def _kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def squared_mmd(x: Features, y: Features) -> float:
    """Unbiased squared maximum mean discrepancy of two sets.

    Args:
        x: Shape (M, D), M >= 2.
        y: Shape (N, D), N >= 2.
    """
    a, b = x.astype(np.float64), y.astype(np.float64)
    return _within(_kernel(a, a)) + _within(_kernel(b, b)) - 2.0 * float(_kernel(a, b).mean())


def _within(kernel: NDArray[np.float64]) -> float:
    n = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (n * (n - 1)))


def kid(x: Features, y: Features, subsets: int, subset_size: int, seed: int) -> Kid:
    """KID of two sets, over random subsets of both.

    Args:
        x: Shape (M, D).
        y: Shape (N, D).
        subsets: How many.
        subset_size: Images of each; fewer where a set has fewer.
        seed: Of the draw.
    """
    draw = np.random.default_rng(seed)
    size = min(subset_size, len(x), len(y))
    values = [
        squared_mmd(
            x[draw.choice(len(x), size, replace=False)], y[draw.choice(len(y), size, replace=False)]
        )
        for _ in range(subsets)
    ]
    return Kid(
        value=float(np.mean(values)),
        standard_error=float(np.std(values, ddof=1) / np.sqrt(subsets)),
    )
