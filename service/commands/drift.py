"""``python -m service drift``: compare answers in use with those of the validation."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.command_line import OK
from service.commands.parsing import Commands

if TYPE_CHECKING:
    from cxr.bundles.reference import Reference
    from service.telemetry.drift import Stability
    from service.telemetry.drift_sources import Key, Tally

MODERATE, SHIFTED, UNKNOWN = 3, 4, 5
STATUSES: dict[Stability, int] = {
    "stable": OK,
    "too few": UNKNOWN,
    "moderate": MODERATE,
    "shifted": SHIFTED,
}
WORST_FIRST = (SHIFTED, MODERATE, UNKNOWN, OK)


def add_parser(commands: Commands) -> None:
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


def run(args: argparse.Namespace) -> int:
    """Print a statement for each model and return the worst status."""
    from service.settings import load_settings

    bundles_dir = args.bundles or load_settings().bundles_dir
    tallies = _from_log(args) if args.log else _from_metrics(args)
    references = _read_references(Path(bundles_dir))
    wanted = {k: t for k, t in tallies.items() if args.model in (None, k[0])}
    statuses = [_report(key, tally, references) for key, tally in sorted(wanted.items())]
    if not statuses:
        print("No answered image was found.", file=sys.stderr)
        return UNKNOWN
    return next(status for status in WORST_FIRST if status in statuses)


def _report(key: Key, tally: Tally, references: dict[Key, Reference | None]) -> int:
    from service.telemetry.drift_statement import describe, judge

    reference = references.get(key)
    if reference is None:
        why = "has no reference" if key in references else "is not among the bundles"
        print(f"{key[0]} {key[1]}: {tally.images} images; its bundle {why}.")
        return UNKNOWN
    statement = judge(tally, reference)
    print(describe(key, tally, reference, statement))
    return STATUSES[statement.reading]


def _read_references(folder: Path) -> dict[Key, Reference | None]:
    from cxr.bundles.manifest import MANIFEST_NAME, Manifest
    from cxr.errors import BundleError

    manifests = [
        Manifest.model_validate_json(path.read_bytes())
        for path in sorted(folder.rglob(MANIFEST_NAME))
    ]
    if not manifests:
        raise BundleError(f"There is no bundle in {folder}. Give --bundles.")
    return {(one.name, one.version): one.reference for one in manifests}


def _from_log(args: argparse.Namespace) -> dict[Key, Tally]:
    from service.errors import InvalidRequestError
    from service.telemetry.drift_sources import parse_since, tally_log

    if args.wait_s is not None:
        raise InvalidRequestError("--wait-s goes with --metrics, not with --log.")
    since = None
    if args.since is not None:
        try:
            since = parse_since(args.since, datetime.now(UTC))
        except ValueError:
            raise InvalidRequestError("--since is neither ISO 8601 nor an age (24h).") from None
    return tally_log(_lines_of(args.log), since)


def _lines_of(files: Iterable[str]) -> Iterator[str]:
    for name in files:
        if name == "-":
            yield from sys.stdin
            continue
        with Path(name).open(encoding="utf-8", errors="replace") as file:
            yield from file


def _from_metrics(args: argparse.Namespace) -> dict[Key, Tally]:
    from service.errors import InvalidRequestError

    if args.since is not None:
        raise InvalidRequestError(
            "--since goes with --log. Metrics count since their process's start; --wait-s counts "
            "for a while."
        )
    wait_s = args.wait_s
    return collect(args.metrics, None if wait_s is None else lambda: time.sleep(wait_s))


def collect(places: Sequence[str], wait: Callable[[], object] | None = None) -> dict[Key, Tally]:
    """Count answers since the start of the replicas, or only during ``wait``."""
    from service.telemetry.drift_sources import add_up, subtract

    pages = [_tally(place) for place in places]
    if wait is not None:
        wait()
        pages = [subtract(_tally(one), before) for one, before in zip(places, pages, strict=True)]
    return add_up(pages)


def _tally(place: str) -> dict[str, Tally]:
    from service.commands.metrics_page import MetricsPageError, fetch_page
    from service.telemetry.drift_sources import tally_metrics

    is_url = place.startswith(("http://", "https://"))
    page = fetch_page(place) if is_url else Path(place).read_text(encoding="utf-8")
    try:
        return tally_metrics(page)
    except (KeyError, ValueError, OverflowError):  # of whatever answered instead
        raise MetricsPageError(f"{place} is not a metrics page of the service.") from None
