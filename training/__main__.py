"""Command line: ``python -m training COMMAND``; ``--help`` names them."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from cxr.command_line import run_command
from training.commands import (
    adopt,
    compare,
    cv,
    dummy_class,
    ensemble,
    evaluate,
    explore,
    faithfulness,
    gan,
    gan_effect,
    gradcam,
    limits,
    lungs,
    search,
    svm,
    synthesize,
    train,
)

COMMANDS = (
    train,
    cv,
    dummy_class,
    evaluate,
    compare,
    gradcam,
    faithfulness,
    adopt,
    limits,
    lungs,
    explore,
    ensemble,
    svm,
    search,
    gan,
    synthesize,
    gan_effect,
)
"""In the order in which ``--help`` lists them."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add(commands).set_defaults(function=command.run)  # --run is taken
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit status: 0, 1 for an error that is told in one line, 130 when interrupted.
    """
    parsed = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return run_command(
        lambda: parsed.function(parsed),
        when_interrupted="interrupted; the same command resumes after the last complete epoch",
    )


if __name__ == "__main__":
    sys.exit(main())
