"""``python -m training cv``."""

from __future__ import annotations

import argparse

from training.commands.arguments import Commands, add_training, job_of, recipe_of, training_world


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    cv = commands.add_parser("cv", help="train and test one run for each fold, by patient")
    add_training(cv, "folder for fold-0/, fold-1/, ... and their summary")
    cv.add_argument("--folds", type=int, default=5)
    return cv


def run(arguments: argparse.Namespace) -> None:
    """Train the missing folds and summarise all of them."""
    from training.runs.series import report_folds, train_series

    folds, out = arguments.folds, arguments.out
    with training_world(arguments) as world:
        jobs = []
        for fold in range(folds):
            arguments.fold = fold
            jobs.append(job_of(arguments, recipe_of(arguments), out / f"fold-{fold}", world))
        runs = train_series(jobs)
        if world.is_main:
            print(report_folds(runs, out))
