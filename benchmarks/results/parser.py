"""Arguments of ``python -m benchmarks results``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("runs", type=Path, nargs="+", help="run directories, or folders of them")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="keep what the page has of other runs, made images and experiments",
    )
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        help="data set, for the heatmaps; without it none; repeat it for several",
    )
    parser.add_argument("--images", type=int, default=60, help="of the heatmaps of a network")
    parser.add_argument("--gan", type=Path, help="directory of python -m training gan, to show")
    parser.add_argument(
        "--experiment", type=Path, action="append", default=[], metavar="MD", help="a table to add"
    )
