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

from cxr.bundles.reference import Reference, count_bins
from cxr.verdict.operating_point import Decision

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


OUT_OF_SCOPE = "out-of-scope"
SHARES = ("positive", "negative", "refer", OUT_OF_SCOPE)
"""What the share of is told. ``refer`` has those out of scope in it."""


class DriftWindow:
    """The latest answers of one model; they are compared when somebody asks.

    Attributes:
        digest: Of the model's bundle.
        latest: Probability, decision and whether it is in scope, of each answer.
    """

    def __init__(self, digest: str, reference: Reference | None, images: int, least: int) -> None:
        self.digest = digest
        self.latest: deque[tuple[float, Decision, bool]] = deque(maxlen=images)
        self._reference = reference
        self._least = max(1, least)
        self._bounds = None if reference is None else join_bins(reference.counts)

    def read(self, model: str) -> Drift:
        """Compare the latest answers with the reference."""
        images = len(self.latest)
        if images < self._least:
            return Drift(model, images, None, None)
        counts: Counter[str] = Counter(decision for _, decision, _ in self.latest)
        out_of_scope = sum(not in_scope for _, _, in_scope in self.latest)
        shares = {name: counts[name] / images for name in SHARES[:-1]}
        shares[OUT_OF_SCOPE] = out_of_scope / images
        if self._reference is None:
            return Drift(model, images, shares, None)
        bins = count_bins(probability for probability, _, _ in self.latest)
        psi = population_stability(self._reference.counts, bins, self._bounds)
        return Drift(model, images, shares, psi)


class DriftWatch:
    """The latest answers of every model. Belongs to the event loop.

    Attributes:
        windows: By name of the model.
    """

    def __init__(self, images: int = 1000, least_images: int = 200) -> None:
        self._images = images
        self._least = least_images
        self.windows: dict[str, DriftWindow] = {}

    def begin(self, model: str, digest: str, reference: Reference | None) -> DriftWindow:
        """Begin anew with a model: its bundle is another one."""
        window = DriftWindow(digest, reference, self._images, self._least)
        self.windows[model] = window
        return window

    def read(self) -> list[Drift]:
        """Return the drift of every model."""
        return [window.read(name) for name, window in self.windows.items()]
