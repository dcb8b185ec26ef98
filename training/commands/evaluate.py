"""``python -m training evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxr.command_line import add_data, add_quiet
from training.commands.arguments import Commands, add_compute, compute_of


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    evaluate = commands.add_parser("evaluate", help="measure a run and draw its figures")
    evaluate.add_argument("--run", type=Path, required=True)
    add_data(evaluate)
    evaluate.add_argument(
        "--split", default="test", help="train, val, test, or internal-train, -val, -test"
    )
    evaluate.add_argument("--out", type=Path, required=True, help="folder for the report")
    add_compute(evaluate)
    add_quiet(evaluate)
    return evaluate


def run(arguments: argparse.Namespace) -> None:
    """Evaluate a run."""
    from training.runs.evaluate import evaluate_run

    report = evaluate_run(
        arguments.run,
        arguments.data,
        arguments.split,
        arguments.out,
        compute_of(arguments),
        quiet=arguments.quiet,
    )
    print(f"report written to {report}")
