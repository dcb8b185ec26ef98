"""``python -m benchmarks run``, ``gateway``, ``soak`` and ``report``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.child import MeasureError
from benchmarks.options import SERVING, add_common, add_rounds, add_run, options_of

OK, UNCLEAN, FAILED = 0, 1, 2
PRECISE = frozenset({"", "auto", "fp32"})


def build_parser() -> argparse.ArgumentParser:
    """Give the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add_run(commands.add_parser("run", help="measure, print the tables, write the JSON"))
    add_rounds(commands.add_parser("gateway", help="measure the gateway, print, write the JSON"))
    soak = commands.add_parser("soak", help="minutes at capacity among misbehaving clients")
    add_common(soak)
    soak.add_argument("--minutes", type=float, default=10.0)
    soak.add_argument("--model", default="resnet18")
    report = commands.add_parser("report", help="put a run's tables into docs/performance.md")
    report.add_argument("results", type=Path, metavar="JSON")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code."""
    given = build_parser().parse_args(arguments)
    try:
        return {"run": _run, "gateway": _gateway, "soak": _soak, "report": _report}[given.command](
            given
        )
    except (MeasureError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED


def _run(given: argparse.Namespace) -> int:
    from benchmarks.run import run
    from benchmarks.table import render

    results = run(options_of(given))
    given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(render(json.loads(given.out.read_text())))
    return OK if results["is_whole"] else FAILED


def _gateway(given: argparse.Namespace) -> int:
    from benchmarks.gateway.page import render_gateway
    from benchmarks.gateway.run import run_gateway

    results = run_gateway(options_of(given, {}))
    given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(render_gateway(results))
    return OK


def _soak(given: argparse.Namespace) -> int:
    from benchmarks.files import find_files
    from benchmarks.load import run_loop
    from benchmarks.server import start_service
    from benchmarks.soak import compute_goldens, soak_server

    settings = SERVING | dict(given.set)
    files = find_files(given.data, given.cache / "phantoms")
    bundles = given.bundles.resolve()
    goldens = compute_goldens(files.paths, bundles, given.model, settings)
    rough = settings.get("CXR_PRECISION", "") not in PRECISE
    with start_service(bundles, given.model, files.typical.read_bytes(), settings) as server:
        seen = run_loop(soak_server(server, files.paths, goldens, 60.0 * given.minutes, rough))
    print(json.dumps(seen.as_json() | {"files": files.kind}, indent=1))
    return UNCLEAN if seen.faults else OK


def _report(given: argparse.Namespace) -> int:
    from benchmarks.report import write_report

    write_report(given.results)
    return OK


if __name__ == "__main__":
    sys.exit(main())
