"""Arguments that several commands of ``python -m training`` share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from cxr.command_line import add_data, add_quiet
from training.recipe import Recipe, load_recipe, recipe_names

if TYPE_CHECKING:
    from training.device import Compute
    from training.distributed import World
    from training.runs.derive import DerivingJob
    from training.runs.job import TrainingJob

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_split_file(command: argparse.ArgumentParser) -> None:
    """Add ``--split-file``."""
    command.add_argument(
        "--split-file", type=Path, help="split.csv of a run whose patients to keep apart likewise"
    )


def add_compute(command: argparse.ArgumentParser) -> None:
    """Add ``--device`` and ``--threads``."""
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.add_argument("--threads", type=int, default=0, help="CPU threads; default: all")


def compute_of(arguments: argparse.Namespace) -> Compute:
    """Choose the device and set this process's CPU threads.

    Raises:
        RunError: No such device.
    """
    import torch

    from training.device import choose_compute

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return choose_compute(arguments.device)


def add_training(
    command: argparse.ArgumentParser, out_help: str, recipe: Path | None = None
) -> None:
    """Add the arguments of every command that trains; without ``recipe`` it is required."""
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
    command.add_argument("--architecture", help="network; default: the recipe's")
    add_compute(command)
    add_quiet(command)


@contextmanager
def training_world(arguments: argparse.Namespace) -> Iterator[World]:
    """Join the processes started by torchrun, if any, and share the cores with them."""
    import torch

    from training.distributed import joined_world

    with joined_world() as world:
        # torchrun's processes share the cores instead of each taking all of them.
        torch.set_num_threads(arguments.threads or max(1, (os.cpu_count() or 1) // world.size))
        yield world


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """Load the recipe and apply the command line's overrides.

    Raises:
        RunError: The recipe does not exist or is not valid with the overrides.
    """
    recipe = load_recipe(arguments.recipe)
    if arguments.architecture is not None:
        name = f"{arguments.architecture}-{recipe.name}"
        recipe = recipe.changed(architecture=arguments.architecture, name=name)
    if left_out := getattr(arguments, "leave_out", None):
        recipe = recipe.changed(name="-".join((recipe.name, "without", *left_out)))
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
    """Return the training that the command line describes."""
    from training.device import choose_compute
    from training.runs.job import SEGMENTER, TrainingJob

    return TrainingJob(
        recipe=recipe,
        data=arguments.data,
        out=out,
        init=arguments.init or recipe.init,
        compute=choose_compute(arguments.device, world.local_rank),
        world=world,
        split_file=getattr(arguments, "split_file", None),
        synthetic=getattr(arguments, "synthetic", None),
        lungs=getattr(arguments, "lungs", None) or SEGMENTER,
        teachers=tuple(getattr(arguments, "teacher", None) or ()),
        left_out=tuple(getattr(arguments, "leave_out", None) or ()),
        quiet=arguments.quiet,
    )


def add_deriving(command: argparse.ArgumentParser) -> None:
    """Add the arguments of every command that makes a run from finished runs."""
    command.add_argument("--version", default="1.0.0", help="of the new run")
    add_data(command)
    command.add_argument("--out", type=Path, required=True, help="run directory to make")
    add_compute(command)
    add_quiet(command)


def deriving_job(arguments: argparse.Namespace, name: str) -> DerivingJob:
    """Return the job of making a run called ``name`` from finished runs."""
    from training.runs.derive import DerivingJob

    return DerivingJob(
        name=name,
        version=arguments.version,
        data=arguments.data,
        out=arguments.out,
        compute=compute_of(arguments),
        quiet=arguments.quiet,
    )
