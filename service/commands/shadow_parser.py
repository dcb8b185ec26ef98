"""The parser of ``python -m service shadow``: apart, so that --help stays quick."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_shadow_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``shadow``."""
    parser = commands.add_parser("shadow", help="compare shadows with the version in force")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--url", help="where the service is, such as http://127.0.0.1:8000")
    source.add_argument("--metrics", type=Path, metavar="FILE", help="a saved page of /metrics")
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="holds an API key with the scope metrics"
    )
