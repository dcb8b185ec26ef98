"""``python -m training ensemble``."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.commands.arguments import Commands, add_deriving, deriving_job


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    ensemble = commands.add_parser("ensemble", help="make one run out of several finished ones")
    ensemble.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directory")
    ensemble.add_argument("--name", required=True, help="of the new run")
    add_deriving(ensemble)
    return ensemble


def run(arguments: argparse.Namespace) -> None:
    """Make an ensemble."""
    from training.runs.ensemble import combine_runs

    written = combine_runs(arguments.runs, deriving_job(arguments, arguments.name))
    print(f"run written to {written}")
