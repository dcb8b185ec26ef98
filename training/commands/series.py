"""``python -m training cv`` and ``dummy-class``: commands that train several runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.commands.arguments import Commands
from training.commands.train import (
    add_training_arguments,
    job_of,
    recipe_of,
    training_world,
)

SMALL_RECIPE = Path(__file__).parents[1] / "experiments" / "dummy_class.toml"
"""Of ``dummy-class``, where no other is given."""


def add_cv(commands: Commands) -> None:
    """Add the arguments of the cross-validation."""
    cv = commands.add_parser("cv", help="train and test one run for each fold, by patient")
    add_training_arguments(cv, "folder for fold-0/, fold-1/, ... and their summary")
    cv.add_argument("--folds", type=int, default=5)


def run_cv(arguments: argparse.Namespace) -> None:
    """Train the folds that are missing and summarise all."""
    from training.runs.cross_validation import report_folds
    from training.runs.series import train_series

    folds, out = arguments.folds, arguments.out
    with training_world(arguments) as world:
        jobs = []
        for fold in range(folds):
            arguments.fold = fold
            jobs.append(job_of(arguments, recipe_of(arguments), out / f"fold-{fold}", world))
        runs = train_series(jobs)
        if world.is_main:
            print(report_folds(runs, out))


def add_dummy(commands: Commands) -> None:
    """Add the arguments of the experiment."""
    dummy = commands.add_parser(
        "dummy-class", help="train with and without a class for ambiguous images, and compare"
    )
    add_training_arguments(dummy, "folder for the runs and their comparison", SMALL_RECIPE)
    dummy.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    dummy.add_argument("--share", type=float, default=0.1, help="of the training images")


def run_dummy(arguments: argparse.Namespace) -> None:
    """Train the runs that are missing and compare them."""
    from training.experiments.dummy_experiment import report_dummy
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
