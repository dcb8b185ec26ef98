"""``python -m benchmarks siege``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from benchmarks.options import add_common

LIMIT_GIB = 4.0
PATIENCE_S = 25.0


def add_siege(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_common(parser)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="keys or families")
    parser.add_argument("--list", action="store_true", help="say which rows there are")
    parser.add_argument(
        "--limit-gib", type=float, default=LIMIT_GIB, help="address space of each server"
    )
    parser.add_argument(
        "--patience", type=float, default=PATIENCE_S, help="seconds an attack is waited for"
    )
    parser.add_argument("--out", type=Path, default=Path("results-siege.json"), metavar="JSON")


def run_siege(given: argparse.Namespace) -> bool:
    """Attack, print the table, write the JSON, and say whether every bar was met.

    Raises:
        MeasureError: A row is unknown.
    """
    from benchmarks.siege.arena import Arena
    from benchmarks.siege.page import render
    from benchmarks.siege.run import choose, run

    rows = choose(given.only)
    if given.list:
        print("\n".join(f"{row.key:24} {row.family:9} {row.title}" for row in rows))
        return True
    # Told to end, it ends its servers: they are in sessions of their own.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit("told to end"))
    limit_bytes = int(given.limit_gib * (1 << 30))
    settings = dict(given.set)
    bundles = given.bundles.resolve()
    with Arena(bundles, given.model, limit_bytes, given.patience, settings) as arena:
        results = run(arena, rows)
    given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(render(results))
    return not any(row["misses"] for row in results["rows"])
