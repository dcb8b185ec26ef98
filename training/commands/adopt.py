"""``python -m training adopt``."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxr.command_line import add_data, add_quiet
from training.commands.arguments import Commands, add_compute, compute_of
from training.recipe import load_recipe


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    adopt = commands.add_parser("adopt", help="make a run of weights that are trained already")
    adopt.add_argument("--weights", type=Path, required=True, help="safetensors file")
    adopt.add_argument("--recipe", required=True, help="says what they answer, and of whom")
    adopt.add_argument(
        "--split-file", type=Path, required=True, help="split.csv they were trained with"
    )
    add_data(adopt)
    adopt.add_argument("--out", type=Path, required=True, help="run directory to make")
    add_compute(adopt)
    add_quiet(adopt)
    return adopt


def run(arguments: argparse.Namespace) -> None:
    """Calibrate, limit and measure the weights."""
    from training.runs.adopt import adopt_weights
    from training.runs.derive import DerivingJob

    recipe = load_recipe(arguments.recipe)
    job = DerivingJob(
        name=recipe.name,
        version=recipe.version,
        data=arguments.data,
        out=arguments.out,
        compute=compute_of(arguments),
        quiet=arguments.quiet,
    )
    path = adopt_weights(arguments.weights, recipe, arguments.split_file, job)
    print(f"run written to {path}")
