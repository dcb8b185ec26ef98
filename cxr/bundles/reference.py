"""Answers on validation images, for comparison with those in use."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from pydantic import Field, model_validator

from cxr.section import Section
from cxr.verdict.operating_point import Decision

BIN_EDGES = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
    *(0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0),
)  # finer at both ends, where the probabilities of a model that is sure of itself lie
"""Upper ends of the bins of probabilities, each within its bin; the first begins at 0."""

BINS = len(BIN_EDGES)


def bin_of(probability: float) -> int:
    """Return the bin of a probability, from 0 to ``BINS - 1``."""
    return min(bisect_left(BIN_EDGES, probability), BINS - 1)


def count_bins(probabilities: Iterable[float]) -> tuple[int, ...]:
    """Count probabilities by bin."""
    counts = [0] * BINS
    for probability in probabilities:
        counts[bin_of(probability)] += 1
    return tuple(counts)


class Reference(Section):
    """Answers on one part of the split, as the service gives them."""

    part: str = Field(description="Part of the split by patient.")
    images: int = Field(ge=1)
    edges: tuple[float, ...] = Field(description="Upper ends of the bins; the first begins at 0.")
    counts: tuple[int, ...] = Field(description="Images by bin of the finding's probability.")
    decisions: dict[Decision, int] = Field(
        description="Images by decision at the default operating point."
    )
    out_of_scope: int = Field(ge=0)

    @model_validator(mode="after")
    def _adds_up(self) -> Reference:
        if self.edges != BIN_EDGES:
            raise ValueError("the bins are not those of this version")
        if len(self.counts) != BINS or sum(self.counts) != self.images:
            raise ValueError("counts do not add up to images")
        if sum(self.decisions.values()) != self.images or self.out_of_scope > self.images:
            raise ValueError("decisions do not add up to images")
        return self

    def share(self, decision: Decision) -> float:
        """Return the share of a decision, in [0, 1]."""
        return self.decisions.get(decision, 0) / self.images

    @property
    def share_out_of_scope(self) -> float:
        """Share of images out of scope, in [0, 1]."""
        return self.out_of_scope / self.images
