"""``python -m training lungs``."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxr.command_line import add_quiet
from training.commands.arguments import Commands, add_compute, compute_of


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    lungs = commands.add_parser("lungs", help="train the segmenter that guides other trainings")
    lungs.add_argument(
        "--csv", type=Path, required=True, help="columns file and lung_mask, relative to the file"
    )
    lungs.add_argument("--out", type=Path, required=True, help="folder to make")
    lungs.add_argument("--epochs", type=int, default=16)
    lungs.add_argument("--seed", type=int, default=0)
    add_compute(lungs)
    add_quiet(lungs)
    return lungs


def run(arguments: argparse.Namespace) -> None:
    """Train the segmenter and print how well it finds lungs."""
    from training.runs.segmenter import train_segmenter

    dice = train_segmenter(
        arguments.csv,
        arguments.out,
        compute_of(arguments),
        epochs=arguments.epochs,
        seed=arguments.seed,
        quiet=arguments.quiet,
    )
    print(f"segmenter written to {arguments.out}: Dice {dice:.3f} on images held out")
