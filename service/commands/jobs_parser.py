"""The arguments of ``python -m service jobs``. Loads nothing, so that --help is quick."""

from __future__ import annotations

import argparse
from typing import Any

from service.gateway.store.states import STATES


def add_jobs_parser(commands: Any) -> None:
    """Add ``jobs list | show | retry | purge``."""
    parser = commands.add_parser("jobs", help="look at the gateway's jobs, retry and purge them")
    actions = parser.add_subparsers(dest="action", required=True)
    listing = actions.add_parser("list", help="the newest jobs as a table")
    listing.add_argument("--state", choices=STATES, help="only those in this state")
    listing.add_argument("--limit", type=_positive, default=50, help="at most so many")
    show = actions.add_parser("show", help="one job with its deliveries")
    show.add_argument("id")
    show.add_argument("--uids", action="store_true", help="also its UIDs, which identify a study")
    retry = actions.add_parser("retry", help="begin dead jobs again")
    retry.add_argument("ids", nargs="*", metavar="id")
    retry.add_argument("--all-dead", action="store_true", help="every dead job that can be")
    purge = actions.add_parser("purge", help="delete the bytes of finished jobs")
    purge.add_argument("--state", choices=("done", "dead"), default="done")
    purge.add_argument("--older-than-h", type=float, default=0.0, metavar="H")
    purge.add_argument("--rows", action="store_true", help="also forget the jobs themselves")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value
