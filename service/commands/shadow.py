"""``python -m service shadow``: compare shadows with the versions in force."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxr.command_line import OK
from service.commands.parsing import Commands


def add_parser(commands: Commands) -> None:
    """Add ``shadow``."""
    parser = commands.add_parser("shadow", help="compare shadows with the version in force")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--url", help="where the service is, such as http://127.0.0.1:8000")
    source.add_argument("--metrics", type=Path, metavar="FILE", help="a saved page of /metrics")
    parser.add_argument(
        "--key-file", type=Path, metavar="FILE", help="holds an API key with the scope metrics"
    )


def run(args: argparse.Namespace) -> int:
    """Print a table for each shadow."""
    from service.commands.metrics_page import MetricsPageError, fetch_page
    from service.telemetry.shadow_report import read_reports

    try:
        if args.metrics is not None:
            page = args.metrics.read_text(encoding="utf-8")
        else:
            key = args.key_file.read_text().strip() if args.key_file is not None else None
            page = fetch_page(args.url, key)
        reports = read_reports(page)
    except OSError as error:
        raise MetricsPageError(f"A file cannot be read: {error.strerror}.") from None
    except (KeyError, ValueError, OverflowError):  # of whatever answered instead
        raise MetricsPageError("The page is not a metrics page of the service.") from None
    if not reports:
        print("No shadow has answered. Set CXR_SHADOW=name@version to start one.")
    print("\n\n".join(report.render() for report in reports))
    return OK
