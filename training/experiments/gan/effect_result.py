"""Trainings with and without synthetic images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cxr.section import Section
from training.data.synthetic import SyntheticSet
from training.experiments.gan.arms import ARMS, REAL


class ArmResult(Section):
    """One training; ``arm`` is ``real``, ``even`` or ``minority``."""

    identity: str
    arm: str
    seed: int
    real_images: int
    made_images: dict[str, int]
    steps: int
    seconds: float
    figures: dict[str, float]


class MeanAndDeviation(Section):
    """Mean and standard deviation over seeds; None for a single one."""

    mean: float
    standard_deviation: float | None


class ArmSummary(Section):
    """An arm over all seeds; ``differences`` to ``real``, paired by seed, are empty for itself."""

    figures: dict[str, MeanAndDeviation]
    differences: dict[str, MeanAndDeviation]


class Effect(Section):
    """The content of ``effect.json``."""

    task: str
    recipe: dict[str, Any]
    synthetic: SyntheticSet
    test_images: int
    results: tuple[ArmResult, ...]
    arms: dict[str, ArmSummary]


def _mean_and_deviation(values: Sequence[float]) -> MeanAndDeviation:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return MeanAndDeviation(mean=float(np.mean(values)), standard_deviation=deviation)


def summarise(results: Sequence[ArmResult]) -> dict[str, ArmSummary]:
    """Summarise every arm."""
    by_arm = {arm: {r.seed: r.figures for r in results if r.arm == arm} for arm in ARMS}
    names = list(results[0].figures)
    return {
        arm: ArmSummary(
            figures={
                n: _mean_and_deviation([figures[n] for figures in of_seed.values()]) for n in names
            },
            differences={
                n: _mean_and_deviation(
                    [figures[n] - by_arm[REAL][seed][n] for seed, figures in of_seed.items()]
                )
                for n in names
                if arm != REAL
            },
        )
        for arm, of_seed in by_arm.items()
    }


EFFECT_NAME = "effect.json"
TABLE_NAME = "effect.md"


def write_effect(effect: Effect, directory: Path) -> None:
    """Write ``effect.json`` and ``effect.md``."""
    (directory / EFFECT_NAME).write_text(effect.model_dump_json(indent=2) + "\n")
    (directory / TABLE_NAME).write_text(effect_markdown(effect))


def effect_markdown(effect: Effect) -> str:
    """Return the described table as Markdown."""
    names = list(effect.arms[REAL].figures)
    seeds = len({result.seed for result in effect.results})
    lines = [
        f"# Effect of made images on `{effect.task}`",
        "",
        f"Generator {effect.synthetic.generator}; network `{effect.recipe['architecture']}` at "
        f"{effect.recipe['size_px']} px; {effect.results[0].real_images} real training images; "
        f"{effect.test_images} test images of held-out patients; {seeds} seeds, one split. "
        "Mean ± standard deviation over seeds; in brackets the difference to `real` paired by "
        "seed.",
        "",
        f"| arm | made images | steps | {' | '.join(names)} |",
        f"|---|---|---|{'---|' * len(names)}",
    ]
    for arm, summary in effect.arms.items():
        one = next(result for result in effect.results if result.arm == arm)
        made = ", ".join(f"{n} {name}" for name, n in one.made_images.items()) or "none"
        cells = [_text(summary.figures[name]) for name in names]
        if summary.differences:
            cells = [
                f"{cell} ({_text(summary.differences[name], sign='+')})"
                for cell, name in zip(cells, names, strict=True)
            ]
        lines.append(f"| `{arm}` | {made} | {one.steps} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _text(value: MeanAndDeviation, sign: str = "") -> str:
    deviation = value.standard_deviation
    text = format(value.mean, f"{sign}.4f")
    return text if deviation is None else f"{text} ± {deviation:.4f}"
