"""``python -m training gradcam``."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxr.command_line import add_data
from training.commands.arguments import Commands, add_compute, compute_of


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    gradcam = commands.add_parser("gradcam", help="draw a sheet of images with their heatmaps")
    gradcam.add_argument("--run", type=Path, required=True)
    add_data(gradcam)
    gradcam.add_argument("--split", default="internal-test", help="as for evaluate")
    gradcam.add_argument("--n", type=int, default=16, help="images, evenly per class")
    gradcam.add_argument(
        "--method", default="gradcam", help="gradcam, gradcam_plus_plus or layercam"
    )
    gradcam.add_argument("--target", metavar="CLASS", help="default: the finding's first class")
    gradcam.add_argument("--seed", type=int, default=0, help="of the choice of images")
    gradcam.add_argument("--out", type=Path, required=True, help="PNG file to write")
    add_compute(gradcam)
    return gradcam


def run(arguments: argparse.Namespace) -> None:
    """Draw the sheet."""
    from training.heatmaps.explaining import method_named
    from training.heatmaps.sheet import SheetPlan, write_sheet

    plan = SheetPlan(
        split=arguments.split,
        n=arguments.n,
        method=method_named(arguments.method),
        target=arguments.target,
        seed=arguments.seed,
    )
    compute = compute_of(arguments)
    sheet = write_sheet(arguments.run, arguments.data, plan, arguments.out, compute)
    print(f"sheet written to {sheet}")
