"""``python -m training train``, and what the commands have in common that train several runs."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.arguments import add_data, add_quiet
from training.commands.arguments import Commands, add_compute, add_split_file
from training.recipe import Recipe, load_recipe, recipe_names

if TYPE_CHECKING:
    from training.distributed import World
    from training.runs.job import TrainingJob


def add_train(commands: Commands) -> None:
    """Add the command's arguments."""
    train = commands.add_parser("train", help="train a network and write a run directory")
    add_training_arguments(train, "run directory to make")
    add_split_file(train)
    train.add_argument(
        "--synthetic", type=Path, help="made images to learn from as well (training synthesize)"
    )
    train.add_argument("--folds", type=int, help="test one fold of so many, by patient")
    train.add_argument("--fold", type=int, help="which, from 0")
    train.add_argument("--restart", action="store_true", help="drop an unfinished training")


def add_training_arguments(
    command: argparse.ArgumentParser, out_help: str, recipe: Path | None = None
) -> None:
    """Add what every command that trains is told.

    Args:
        command: Gets the arguments.
        out_help: What ``--out`` is.
        recipe: The default of ``--recipe``; None: it must be given.
    """
    known = f"a .toml file, or one of {', '.join(recipe_names())}"
    command.add_argument(
        "--recipe",
        required=recipe is None,
        default=recipe and str(recipe),
        help=known if recipe is None else f"{known}; default: a small one of this command",
    )
    add_data(command)
    command.add_argument("--out", type=Path, required=True, help=out_help)
    command.add_argument("--init", help="weights file, 'imagenet' or 'none'; default: recipe's")
    command.add_argument(
        "--split-kind", help="patient, official or patient_80_10_10; default: the recipe's"
    )
    command.add_argument("--seed", type=int, help="default: the recipe's")
    add_compute(command)
    add_quiet(command)


@contextmanager
def training_world(arguments: argparse.Namespace) -> Iterator[World]:
    """Join the processes of torchrun, if there are any, and share the cores with them."""
    import torch

    from training.distributed import joined_world

    with joined_world() as world:
        # torchrun's processes share the cores instead of each taking all of them.
        torch.set_num_threads(arguments.threads or max(1, (os.cpu_count() or 1) // world.size))
        yield world


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """Load the recipe, with what the command line says otherwise.

    Raises:
        RunError: There is no such recipe, or it is not valid with that.
    """
    recipe = load_recipe(arguments.recipe)
    if arguments.seed is not None:
        recipe = recipe.changed(seed=arguments.seed)
    split = {
        "kind": arguments.split_kind,
        "folds": getattr(arguments, "folds", None),
        "fold": getattr(arguments, "fold", None),
    }
    given = {name: value for name, value in split.items() if value is not None}
    return recipe.changed(split=recipe.split.model_dump() | given) if given else recipe


def job_of(arguments: argparse.Namespace, recipe: Recipe, out: Path, world: World) -> TrainingJob:
    """Put a training together."""
    from training.device import choose_compute
    from training.runs.job import TrainingJob

    return TrainingJob(
        recipe=recipe,
        data=arguments.data,
        out=out,
        init=arguments.init or recipe.init,
        compute=choose_compute(arguments.device, world.local_rank),
        world=world,
        split_file=getattr(arguments, "split_file", None),
        synthetic=getattr(arguments, "synthetic", None),
        quiet=arguments.quiet,
    )


def run_train(arguments: argparse.Namespace) -> None:
    """Train one network."""
    from training.runs.train import run_training

    with training_world(arguments) as world:
        job = job_of(arguments, recipe_of(arguments), arguments.out, world)
        run_training(job, restart=arguments.restart)
        if world.is_main:
            print(f"run written to {arguments.out}")
