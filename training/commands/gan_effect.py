"""``python -m training gan-effect``."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxr.command_line import add_data, add_quiet
from training.commands.arguments import Commands, add_compute, compute_of


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    effect = commands.add_parser(
        "gan-effect", help="train a classifier with and without made images, and compare"
    )
    add_data(effect)
    effect.add_argument("--synthetic", type=Path, required=True, help="folder synthesize made")
    effect.add_argument("--out", type=Path, required=True, help="folder; what is done stays done")
    effect.add_argument("--recipe", help="of the classifier; default: a small one of this command")
    effect.add_argument("--seeds", type=int, default=3, help="how many")
    effect.add_argument("--each", type=int, default=500, help="made images a class, arm 'even'")
    effect.add_argument("--minority", metavar="CLASS", help="default: the smallest class")
    add_compute(effect)
    add_quiet(effect)
    return effect


def run(arguments: argparse.Namespace) -> None:
    """Compare trainings with and without synthetic images."""
    from training.experiments.gan.effect import CLASSIFIER, EffectJob, measure_effect
    from training.experiments.gan.effect_result import effect_markdown
    from training.recipe import load_recipe

    job = EffectJob(
        recipe=load_recipe(arguments.recipe or str(CLASSIFIER)),
        data=arguments.data,
        synthetic=arguments.synthetic,
        out=arguments.out,
        compute=compute_of(arguments),
        seeds=tuple(range(arguments.seeds)),
        each=arguments.each,
        minority=arguments.minority,
        quiet=arguments.quiet,
    )
    print(effect_markdown(measure_effect(job)))
