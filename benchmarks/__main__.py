"""``python -m benchmarks run|gateway|soak|siege|rolling|fleet|results|report``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.child import MeasureError
from benchmarks.options import SERVING, add_common, add_rounds, add_run, options_of
from benchmarks.results.parser import add_results
from benchmarks.siege.command import add_siege, run_siege
from cxr.errors import CxrError

OK, UNCLEAN, FAILED = 0, 1, 2
LOSSLESS = (
    "rolling updates",
    "scale-down to one",
    "killed, clients retry",
    "killed, nginx repeats",
)
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
    add_siege(commands.add_parser("siege", help="hostile inputs at every door, held against bars"))
    rolling = commands.add_parser("rolling", help="replicas through updates, scale-down and kills")
    add_common(rolling)
    rolling.add_argument("--model", default="small_cnn")
    rolling.add_argument("--requests", type=int, default=5000, help="least of each part")
    rolling.add_argument("--out", type=Path, default=Path("results-rolling.json"), metavar="JSON")
    fleet = commands.add_parser("fleet", help="measure two replicas, simulate many")
    add_common(fleet)
    fleet.add_argument("--model", default="resnet18")
    fleet.add_argument("--measured", type=Path, metavar="JSON", help="simulate anew from a run")
    fleet.add_argument("--seconds", type=float, default=15.0, help="of each measurement")
    fleet.add_argument("--out", type=Path, default=Path("results-fleet.json"), metavar="JSON")
    add_results(commands.add_parser("results", help="write docs/results.md from run directories"))
    report = commands.add_parser("report", help="put a run's tables into its page of docs/")
    report.add_argument("results", type=Path, metavar="JSON")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code."""
    given = build_parser().parse_args(arguments)
    try:
        return COMMANDS[given.command](given)
    except (MeasureError, CxrError, OSError) as error:
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


def _siege(given: argparse.Namespace) -> int:
    return OK if run_siege(given) else UNCLEAN


def _rolling(given: argparse.Namespace) -> int:
    import asyncio
    import tempfile
    from dataclasses import replace

    from benchmarks.files import find_files
    from benchmarks.fleet_page import render_rolling
    from benchmarks.machine import describe_machine
    from benchmarks.rolling import Plan, rolling

    files = find_files(given.data, given.cache / "phantoms")
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(given.bundles.resolve(), given.model, files.paths, Path(folder))
        plan = replace(plan, requests=given.requests, settings={**plan.settings, **dict(given.set)})
        parts = asyncio.run(rolling(plan))
    shown = ("replicas", "clients", "pre_stop_s", "propagation_s")
    results = {
        "kind": "rolling",
        "machine": describe_machine(),
        "model": given.model,
        "plan": {name: getattr(plan, name) for name in shown},
        "parts": parts,
    }
    given.out.write_text(json.dumps(results, indent=1) + "\n")
    print(render_rolling(results))
    return UNCLEAN if any(parts[name]["lost"] for name in LOSSLESS) else OK


def _fleet(given: argparse.Namespace) -> int:
    from benchmarks.files import find_files
    from benchmarks.fleet import complete, run
    from benchmarks.fleet_page import render_fleet

    if given.measured is None:
        files = find_files(given.data, given.cache / "phantoms")
        results = run(given.bundles.resolve(), given.model, files, given.seconds)
        given.out.write_text(json.dumps(results) + "\n")
    else:
        results = json.loads(given.measured.read_text())
    results = complete(results)
    given.out.write_text(json.dumps(results) + "\n")
    print(render_fleet(results))
    return OK


def _results(given: argparse.Namespace) -> int:
    from benchmarks.results.command import run_results

    print(f"{run_results(given)} written")
    return OK


def _report(given: argparse.Namespace) -> int:
    from benchmarks.report import write_report

    write_report(given.results)
    return OK


COMMANDS = {
    "run": _run,
    "gateway": _gateway,
    "soak": _soak,
    "siege": _siege,
    "rolling": _rolling,
    "fleet": _fleet,
    "results": _results,
    "report": _report,
}


if __name__ == "__main__":
    sys.exit(main())
