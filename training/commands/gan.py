"""``python -m training gan``."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxr.command_line import add_data, add_quiet
from training.commands.arguments import Commands, add_compute, add_split_file, compute_of


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    gan = commands.add_parser("gan", help="train an AC-GAN that makes radiographs of each class")
    gan.add_argument("--recipe", default="gan128", help="a .toml file, or a name: gan128, smoke")
    add_data(gan)
    gan.add_argument("--out", type=Path, required=True, help="directory to make")
    add_split_file(gan)
    gan.add_argument(
        "--features", type=Path, help="run whose embedding KID is taken in; default: resnet18"
    )
    gan.add_argument("--seed", type=int, help="default: the recipe's")
    gan.add_argument("--restart", action="store_true", help="drop an unfinished training")
    add_compute(gan)
    add_quiet(gan)
    return gan


def run(arguments: argparse.Namespace) -> None:
    """Train an AC-GAN."""
    from training.experiments.gan.features import DEFAULT_FEATURES
    from training.experiments.gan.recipe import GanJob, load_gan_recipe
    from training.experiments.gan.train import run_gan_training

    recipe = load_gan_recipe(arguments.recipe)
    if arguments.seed is not None:
        recipe = recipe.model_copy(update={"seed": arguments.seed})
    job = GanJob(
        recipe=recipe,
        data=arguments.data,
        out=arguments.out,
        compute=compute_of(arguments),
        features=arguments.features or DEFAULT_FEATURES,
        split_file=arguments.split_file,
        quiet=arguments.quiet,
    )
    run_gan_training(job, restart=arguments.restart)
    print(f"generator written to {arguments.out}")
