"""What quantisation needs to know of the data, kept in the run: ``int8.json``.

A bundle is built without any data, so the ranges are measured beforehand, by
``python -m export quantize``. They belong to one set of weights and say which.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from cxr.bundles.manifest import PrecisionFigures, Rounding
from cxr.bundles.measured import Measured, read_measured

INT8_NAME = "int8.json"

MARGIN = 2.0  # over the largest difference on the test patients: other engines and CPUs, too

LEAST = Rounding(logits=0.1, probabilities=0.05, embedding=0.05)
"""Tolerance where test images happen to move less: flat and noisy pictures move more."""


class Int8File(Measured):
    """The content of ``int8.json``."""

    calibration: str
    stays_float: dict[str, str] = Field(description="What is not in eight bits, and why.")
    figures: PrecisionFigures
    ranges: dict[str, tuple[float, float]] = Field(description="By tensor of the folded graph.")

    @property
    def tolerance(self) -> Rounding:
        """Up to where a difference from float32 may be rounding alone."""
        largest = self.figures.largest
        return Rounding(
            logits=_margin(largest.logits, LEAST.logits),
            probabilities=_margin(largest.probabilities, LEAST.probabilities),
            embedding=_margin(largest.embedding, LEAST.embedding),
        )


def _margin(largest: float, least: float) -> float:
    return float(f"{max(MARGIN * largest, least):.2g}")


def read_int8(run: Path, weights_sha256: str) -> Int8File | None:
    """Read the file of a run; None if it was not quantised.

    Raises:
        RunError: Not such a file, or of other weights.
    """
    again = f"Measure it anew: python -m export quantize --run {run} --data DIR."
    return read_measured(run / INT8_NAME, Int8File, weights_sha256, again)
