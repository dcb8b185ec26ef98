"""The arguments of ``python -m service drift``. Loads nothing, so that --help is quick."""

from __future__ import annotations

from typing import Any


def add_drift_parser(commands: Any) -> None:
    """Add ``drift``."""
    parser = commands.add_parser(
        "drift",
        help="compare answers in use with the validation images",
        description="Population stability index of the answered probabilities against the "
        "bundle's validation images, and how the shares of decisions changed.",
        epilog="Exit status: 0 stable, 3 moderate (0.1 to 0.25), 4 shifted, 5 too few images or "
        "no reference, 1 error. docs/observability.md says how to read it.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--log", nargs="+", metavar="FILE", help="log lines; - for stdin")
    source.add_argument(
        "--metrics", nargs="+", metavar="URL", help="metrics page of each replica, or saved pages"
    )
    parser.add_argument(
        "--since", metavar="WHEN", help="log lines from then on: ISO 8601, or an age (15m, 24h, 7d)"
    )
    parser.add_argument(
        "--wait-s",
        type=float,
        metavar="S",
        help="scrape twice, so far apart, and count what came between; else since the start",
    )
    parser.add_argument("--model", help="only this one")
    parser.add_argument("--bundles", metavar="DIR", help="folder of the bundles that answered")
