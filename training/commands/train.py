"""``python -m training train``."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.commands.arguments import (
    Commands,
    add_split_file,
    add_training,
    job_of,
    recipe_of,
    training_world,
)


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    train = commands.add_parser("train", help="train a network and write a run directory")
    add_training(train, "run directory to make")
    add_split_file(train)
    train.add_argument(
        "--synthetic", type=Path, help="made images to learn from as well (training synthesize)"
    )
    train.add_argument(
        "--lungs", type=Path, help="segmenter of a recipe with lung guidance; default: models/lungs"
    )
    train.add_argument(
        "--teacher", type=Path, action="append", help="run to learn from as well; may be repeated"
    )
    train.add_argument(
        "--leave-out", action="append", metavar="SOURCE", help="learn nothing from this source"
    )
    train.add_argument("--folds", type=int, help="test one fold of so many, by patient")
    train.add_argument("--fold", type=int, help="which, from 0")
    train.add_argument("--restart", action="store_true", help="drop an unfinished training")
    return train


def run(arguments: argparse.Namespace) -> None:
    """Train one network."""
    from training.runs.train import run_training

    with training_world(arguments) as world:
        job = job_of(arguments, recipe_of(arguments), arguments.out, world)
        run_training(job, restart=arguments.restart)
        if world.is_main:
            print(f"run written to {arguments.out}")
