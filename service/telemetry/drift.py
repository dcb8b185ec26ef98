"""Whether answers still look like those on the validation images.

The population stability index (PSI) of two histograms is the sum over their bins of
``(a - r) * ln(a / r)``, the shares of answers ``a`` and of the reference ``r``: the symmetrised
Kullback-Leibler divergence, 0 for equal shares.

Sources: S. Lewis, An Introduction to Credit Scoring, 1992 (interpretation); B. Yurdakul,
J. Naranjo, Statistical properties of the population stability index, Journal of Risk Model
Validation 14(4), 2020 (chance).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Literal, TypeAlias

from cxr.bundles.reference import BINS, Reference, bin_of
from cxr.verdict.decision import Decision

Stability: TypeAlias = Literal["stable", "moderate", "shifted", "too few"]

MODERATE_FROM, SHIFTED_FROM = 0.1, 0.25
"""The usual reading: below the first stable, from the second on shifted."""

LEAST_SHARE = 0.05  # of the reference in a bin: emptier ones are joined, or few images rule all
QUANTILE_95 = NormalDist().inv_cdf(0.95)
"""Of the standard normal distribution: one-sided, unlike :data:`cxr.metrics.estimate.Z_95`."""


def join_bins(reference: Sequence[int], least_share: float = LEAST_SHARE) -> tuple[int, ...]:
    """Return the ascending bounds of bins that each hold the least share of the reference."""
    least, bounds, held = least_share * sum(reference), [0], 0
    for number, count in enumerate(reference, 1):
        held += count
        if held >= least and held:
            bounds.append(number)
            held = 0
    if bounds[-1] != len(reference):  # what is left is too little for a bin of its own
        bounds = [*bounds[: max(1, len(bounds) - 1)], len(reference)]
    return tuple(bounds)


def population_stability(
    reference: Sequence[int], answered: Sequence[int], bounds: Sequence[int] | None = None
) -> float:
    """Return the PSI of answers against a reference, both as counts by bin.

    An empty bin has no logarithm, so half an image is added to each count (Jeffreys' prior).
    """
    cuts = list(pairwise(bounds or join_bins(reference)))
    shares = [_shares([sum(counts[a:b]) for a, b in cuts]) for counts in (answered, reference)]
    return sum((a - r) * math.log(a / r) for a, r in zip(*shares, strict=True))


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts) + len(counts) / 2
    return [(count + 0.5) / total for count in counts]


def chance_limit(images: int, reference: int, bins: int) -> float:
    """Return the PSI that answers of the same population exceed once in 20 times.

    About chi-squared with one degree of freedom fewer than bins, scaled by
    ``1 / images + 1 / reference``; the quantile is Wilson's and Hilferty's.
    """
    if bins < 2:
        return 0.0
    return _chi_squared_95(bins - 1) * (1 / images + 1 / reference)


def images_needed(limit: float, reference: int, bins: int) -> int | None:
    """Return how many answers keep the chance limit below a PSI, None if no number does."""
    if bins < 2:
        return 1
    room = limit / _chi_squared_95(bins - 1) - 1 / reference
    return math.ceil(1 / room) if room > 0 else None


def _chi_squared_95(degrees: int) -> float:
    part = 2 / (9 * degrees)
    return degrees * (1 - part + QUANTILE_95 * math.sqrt(part)) ** 3


def read_psi(psi: float) -> Stability:
    """Interpret a PSI."""
    if psi < MODERATE_FROM:
        return "stable"
    return "moderate" if psi < SHIFTED_FROM else "shifted"


@dataclass(frozen=True)
class Drift:
    """One model's latest answers against its reference.

    Attributes:
        shares: Of decisions and ``out-of-scope``; None for too few answers.
        psi: None for too few answers, or without a reference.
    """

    model: str
    images: int
    shares: dict[str, float] | None
    psi: float | None


class DriftWindow:
    """The latest answers of one model."""

    def __init__(self, reference: Reference | None, images: int, least_images: int) -> None:
        self.reference = reference
        self._least = max(1, least_images)
        self._latest: deque[tuple[int, Decision, bool]] = deque()
        self._images = images
        self._bins = [0] * BINS
        self._decisions: Counter[str] = Counter()
        self._bounds = None if reference is None else join_bins(reference.counts)

    def add(self, bin_number: int, decision: Decision, in_scope: bool) -> None:
        """Count an answer, and forget the oldest beyond the limit."""
        self._latest.append((bin_number, decision, in_scope))
        self._count(*self._latest[-1], 1)
        if len(self._latest) > self._images:
            self._count(*self._latest.popleft(), -1)

    def _count(self, bin_number: int, decision: Decision, in_scope: bool, step: int) -> None:
        self._bins[bin_number] += step
        self._decisions[decision] += step
        self._decisions[OUT_OF_SCOPE] += step * (not in_scope)

    def read(self, model: str) -> Drift:
        """Compare the latest answers with the reference."""
        images = len(self._latest)
        if images < self._least:
            return Drift(model, images, None, None)
        shares = {name: self._decisions[name] / images for name in SHARES}
        if self.reference is None:
            return Drift(model, images, shares, None)
        psi = population_stability(self.reference.counts, self._bins, self._bounds)
        return Drift(model, images, shares, psi)


OUT_OF_SCOPE = "out-of-scope"
SHARES = ("positive", "negative", "refer", OUT_OF_SCOPE)
"""What the share of is told. ``refer`` has those out of scope in it."""


class DriftWatch:
    """The latest answers of every model. Belongs to the event loop."""

    def __init__(self, images: int = 1000, least_images: int = 200) -> None:
        self._images = images
        self._least = least_images
        self._windows: dict[str, tuple[str, DriftWindow]] = {}

    def add(
        self,
        model: tuple[str, str],
        reference: Reference | None,
        probability: float,
        decision: Decision,
        *,
        in_scope: bool,
    ) -> None:
        """Count an image answered by a model (name and digest); another digest begins anew."""
        name, digest = model
        known = self._windows.get(name)
        if known is None or known[0] != digest:
            known = (digest, DriftWindow(reference, self._images, self._least))
            self._windows[name] = known
        known[1].add(bin_of(probability), decision, in_scope)

    def read(self) -> list[Drift]:
        """Return the drift of every model."""
        return [window.read(name) for name, (_, window) in self._windows.items()]
