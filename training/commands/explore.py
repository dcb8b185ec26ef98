"""``python -m training explore``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from cxr.command_line import add_data, add_quiet
from training.commands.arguments import Commands


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    command = commands.add_parser("explore", help="one page about a data set, before training")
    add_data(command)
    command.add_argument("--out", type=Path, required=True, help="folder for page and JSON")
    command.add_argument("--seed", type=int, default=0, help="of resampling and folds")
    command.add_argument("--workers", type=int, default=0, help="decoding threads; default: all")
    add_quiet(command)
    return command


def run(arguments: argparse.Namespace) -> None:
    """Write the page."""
    from training.explore.explore import PAGE_NAME, explore

    workers = arguments.workers or os.cpu_count() or 1
    explore(arguments.data, arguments.out, workers, arguments.seed, quiet=arguments.quiet)
    print(f"page written to {arguments.out / PAGE_NAME}")
