"""Commands that make runs out of others."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.__main__ import Commands


def add_family(commands: Commands) -> None:
    """Add the commands' arguments."""
    ensemble = commands.add_parser("ensemble", help="make one run out of several finished ones")
    ensemble.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directory")
    ensemble.add_argument("--name", required=True, help="of the new run")
    ensemble.add_argument("--version", default="1.0.0", help="of the new run")
    ensemble.add_argument("--data", type=Path, required=True, help="what they were trained on")
    ensemble.add_argument("--out", type=Path, required=True, help="run directory to make")
    ensemble.add_argument("--device", default="auto")
    ensemble.add_argument("--threads", type=int, default=0, help="CPU threads; default: all")
    ensemble.add_argument("--quiet", action="store_true", help="no progress bars")


def _ensemble(arguments: argparse.Namespace) -> None:
    import torch

    from training.combine import EnsembleJob, combine_runs
    from training.device import choose_compute

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    job = EnsembleJob(
        runs=tuple(arguments.runs),
        name=arguments.name,
        version=arguments.version,
        data=arguments.data,
        out=arguments.out,
        compute=choose_compute(arguments.device),
        quiet=arguments.quiet,
    )
    print(f"run written to {combine_runs(job)}")


FAMILY_COMMANDS = {"ensemble": _ensemble}
