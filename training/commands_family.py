"""Commands that make runs out of others."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.commands_train import Commands, add_data


def add_ensemble(commands: Commands) -> None:
    """Add the ensemble's arguments."""
    ensemble = commands.add_parser("ensemble", help="make one run out of several finished ones")
    ensemble.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directory")
    ensemble.add_argument("--name", required=True, help="of the new run")
    ensemble.add_argument("--version", default="1.0.0", help="of the new run")
    add_data(ensemble)
    ensemble.add_argument("--out", type=Path, required=True, help="run directory to make")
    ensemble.add_argument("--device", default="auto")
    ensemble.add_argument("--threads", type=int, default=0, help="CPU threads; default: all")
    ensemble.add_argument("--quiet", action="store_true", help="no progress bars")


def run_ensemble(arguments: argparse.Namespace) -> None:
    """Make an ensemble."""
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
