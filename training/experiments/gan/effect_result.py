"""Results of trainings with and without made images, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cxr.section import Section
from training.data.synthetic import SyntheticSet
from training.experiments.gan.arms import ARMS, REAL


class ArmResult(Section):
    """One training.

    Attributes:
        identity: Digest of recipe, images, arm and seed.
        arm: ``real``, ``even`` or ``minority``.
        seed: Of the training.
        real_images: In the train part.
        made_images: By class, that joined it.
        steps: Batches learnt from.
        seconds: Of training.
        figures: On the test part, by name.
    """

    identity: str
    arm: str
    seed: int
    real_images: int
    made_images: dict[str, int]
    steps: int
    seconds: float
    figures: dict[str, float]


class Spread(Section):
    """Mean and standard deviation over seeds; that is None for a single one."""

    mean: float
    standard_deviation: float | None


class ArmSummary(Section):
    """An arm over all seeds.

    Attributes:
        figures: By name.
        differences: Of the figures to those of ``real`` with the same seed; empty for it itself.
    """

    figures: dict[str, Spread]
    differences: dict[str, Spread]


class Effect(Section):
    """The content of ``effect.json``."""

    task: str
    recipe: dict[str, Any]
    synthetic: SyntheticSet
    test_images: int
    results: tuple[ArmResult, ...]
    arms: dict[str, ArmSummary]


def spread(values: Sequence[float]) -> Spread:
    """Sum up one figure of several seeds."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(mean=float(np.mean(values)), standard_deviation=deviation)


def summarise(results: Sequence[ArmResult]) -> dict[str, ArmSummary]:
    """Sum up every arm, with differences paired by seed."""
    by_arm = {arm: {r.seed: r.figures for r in results if r.arm == arm} for arm in ARMS}
    names = list(results[0].figures)
    return {
        arm: ArmSummary(
            figures={n: spread([figures[n] for figures in of_seed.values()]) for n in names},
            differences={
                n: spread([figures[n] - by_arm[REAL][seed][n] for seed, figures in of_seed.items()])
                for n in names
                if arm != REAL
            },
        )
        for arm, of_seed in by_arm.items()
    }
