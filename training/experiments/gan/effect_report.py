"""The table of what made images do to a classifier."""

from __future__ import annotations

from pathlib import Path

from training.experiments.gan.arms import REAL
from training.experiments.gan.effect_result import Effect, Spread

EFFECT_NAME = "effect.json"
TABLE_NAME = "effect.md"


def write_effect(effect: Effect, directory: Path) -> None:
    """Write ``effect.json`` and ``effect.md``."""
    (directory / EFFECT_NAME).write_text(effect.model_dump_json(indent=2) + "\n")
    (directory / TABLE_NAME).write_text(effect_markdown(effect))


def effect_markdown(effect: Effect) -> str:
    """Give the table and what it means, as Markdown."""
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


def _text(value: Spread, sign: str = "") -> str:
    deviation = value.standard_deviation
    text = format(value.mean, f"{sign}.4f")
    return text if deviation is None else f"{text} ± {deviation:.4f}"
