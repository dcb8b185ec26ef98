"""Statements about the answers of a model beside its validation images."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cxr.bundles.reference import Reference
from cxr.metrics.estimate import Z_95
from service.telemetry.drift import (
    MODERATE_FROM,
    OUT_OF_SCOPE,
    SHARES,
    SHIFTED_FROM,
    Stability,
    chance_limit,
    images_needed,
    join_bins,
    population_stability,
    read_psi,
)
from service.telemetry.drift_sources import Key, Tally


@dataclass(frozen=True)
class DriftStatement:
    """Statement about one model.

    Attributes:
        psi: Population stability index.
        by_chance: Index exceeded by chance once in 20 times.
        needed: Images for that to be below the first limit; None if none suffice.
    """

    psi: float
    by_chance: float
    needed: int | None
    reading: Stability


def judge(tally: Tally, reference: Reference) -> DriftStatement:
    """Compare answers with a reference.

    They are too few if chance could reach the first limit, unless the index is beyond the second.
    """
    bounds = join_bins(reference.counts)
    bins = len(bounds) - 1
    psi = population_stability(reference.counts, tally.bins, bounds)
    by_chance = chance_limit(tally.images, reference.images, bins)
    needed = images_needed(MODERATE_FROM, reference.images, bins)
    enough = needed is not None and tally.images >= needed
    reading = read_psi(psi) if enough or psi > SHIFTED_FROM + by_chance else "too few"
    return DriftStatement(psi, by_chance, needed, reading)


def describe(key: Key, tally: Tally, reference: Reference, said: DriftStatement) -> str:
    """Describe a statement, with changes of shares and their 95 % intervals."""
    name, version = key
    needed = "more than any number" if said.needed is None else f"{said.needed}"
    lines = [
        f"{name} {version}: PSI {said.psi:.3f}, {said.reading} "
        f"({tally.images} images; {reference.images} of validation)",
        f"  chance alone exceeds {said.by_chance:.3f} once in 20 times; images needed for a "
        f"statement: {needed}",
    ]
    for share in SHARES:
        then, now = _share(reference, share), tally.decisions[share] / tally.images
        margin = Z_95 * math.sqrt(_variance(then, reference.images) + _variance(now, tally.images))
        lines.append(
            f"  {share:<13}{now:7.1%}  validation {then:6.1%}  change {(now - then) * 100:+5.1f} "
            f"points (+-{margin * 100:.1f})"
        )
    return "\n".join(lines)


def _variance(share: float, images: int) -> float:
    # Agresti and Caffo, The American Statistician 54(4), 2000: one image of each kind added.
    likely = (share * images + 1) / (images + 2)
    return likely * (1 - likely) / (images + 2)


def _share(reference: Reference, share: str) -> float:
    if share == OUT_OF_SCOPE:
        return reference.share_out_of_scope
    # Names of shares are any text, those of decisions three.
    return dict[str, int](reference.decisions.items()).get(share, 0) / reference.images
