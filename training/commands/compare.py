"""``python -m training compare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.commands.arguments import Commands


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    compare = commands.add_parser("compare", help="put runs or evaluations side by side")
    compare.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    compare.add_argument("--part", default="test", choices=("val", "test"))
    compare.add_argument("--operating-point", default="balanced")
    compare.add_argument("--out", type=Path, help="folder for table and figure")
    return compare


def run(arguments: argparse.Namespace) -> None:
    """Print the comparison, and write it if a folder is given."""
    from training.runs.compare import compare_runs

    print(compare_runs(arguments.runs, arguments.part, arguments.operating_point, arguments.out))
