"""Arguments that commands of training and export share."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_data(command: argparse.ArgumentParser) -> None:
    """Add ``--data``, which may be repeated."""
    command.add_argument(
        "--data",
        type=Path,
        required=True,
        action="append",
        help="folder that holds train/ ...; repeat it for several data sets",
    )


def add_quiet(command: argparse.ArgumentParser) -> None:
    """Add ``--quiet``, for commands that show how far they are."""
    command.add_argument("--quiet", action="store_true", help="no progress bars")
