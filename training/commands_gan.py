"""Command line: ``python -m training gan``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_gan(commands: Commands) -> None:
    """Add ``gan`` to the commands."""
    gan = commands.add_parser("gan", help="train an AC-GAN that makes radiographs of each class")
    gan.add_argument("--recipe", default="gan128", help="a .toml file, or a name: gan128, smoke")
    gan.add_argument("--data", type=Path, required=True, help="folder that holds train/ ...")
    gan.add_argument("--out", type=Path, required=True, help="directory to make")
    gan.add_argument(
        "--split-file", type=Path, help="split.csv of a run whose patients to keep apart likewise"
    )
    gan.add_argument(
        "--features", type=Path, help="run whose embedding KID is taken in; default: resnet18"
    )
    gan.add_argument("--device", default="auto", help="auto, cpu or cuda")
    gan.add_argument("--seed", type=int, help="default: the recipe's")
    gan.add_argument("--threads", type=int, default=0, help="CPU threads; default: all")
    gan.add_argument("--restart", action="store_true", help="drop an unfinished training")
    gan.add_argument("--quiet", action="store_true", help="no progress bars")


def run_gan(arguments: argparse.Namespace) -> None:
    """Train an AC-GAN."""
    import torch

    from training.device import choose_compute
    from training.gan.features import DEFAULT_FEATURES
    from training.gan.job import GanJob
    from training.gan.recipe import load_gan_recipe
    from training.gan.train import run_gan_training

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    recipe = load_gan_recipe(arguments.recipe)
    if arguments.seed is not None:
        recipe = recipe.model_copy(update={"seed": arguments.seed})
    job = GanJob(
        recipe=recipe,
        data=arguments.data,
        out=arguments.out,
        compute=choose_compute(arguments.device),
        features=arguments.features or DEFAULT_FEATURES,
        split_file=arguments.split_file,
        quiet=arguments.quiet,
    )
    run_gan_training(job, restart=arguments.restart)
    print(f"generator written to {arguments.out}")
