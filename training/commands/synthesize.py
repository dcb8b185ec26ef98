"""``python -m training synthesize``."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.commands.arguments import Commands, add_compute, compute_of


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    made = commands.add_parser("synthesize", help="write images of an AC-GAN as a data set")
    made.add_argument("--gan", type=Path, required=True, help="directory that gan made")
    made.add_argument("--n", type=int, default=500, help="images of each class")
    made.add_argument("--out", type=Path, required=True, help="folder to make")
    made.add_argument("--seed", type=int, default=0, help="of the noise")
    add_compute(made)
    return made


def run(arguments: argparse.Namespace) -> None:
    """Write synthetic images as a data set."""
    from training.experiments.gan.synthesize import synthesize

    compute = compute_of(arguments)
    out = synthesize(arguments.gan, arguments.out, arguments.n, arguments.seed, compute)
    print(f"images written to {out}")
