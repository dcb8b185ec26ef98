"""``python -m training dummy-class``."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.commands.arguments import Commands, add_training, job_of, recipe_of, training_world

SMALL_RECIPE = Path(__file__).parents[1] / "experiments" / "dummy_class.toml"
"""The default recipe."""


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    dummy = commands.add_parser(
        "dummy-class", help="train with and without a class for ambiguous images, and compare"
    )
    add_training(dummy, "folder for the runs and their comparison", SMALL_RECIPE)
    dummy.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    dummy.add_argument("--share", type=float, default=0.1, help="of the training images")
    return dummy


def run(arguments: argparse.Namespace) -> None:
    """Train the missing runs and compare them."""
    from training.experiments.dummy_class_effect import report_dummy
    from training.runs.series import train_series

    with training_world(arguments) as world:
        runs = {}
        for name, dummy in (("without", None), ("with", {"share": arguments.share})):
            recipes = [
                recipe_of(arguments).changed(seed=seed, dummy_class=dummy)
                for seed in arguments.seeds
            ]
            jobs = [
                job_of(arguments, recipe, arguments.out / f"{name}-{recipe.seed}", world)
                for recipe in recipes
            ]
            runs[name] = train_series(jobs)
        if world.is_main:
            print(report_dummy(runs["without"], runs["with"], arguments.share, arguments.out))
