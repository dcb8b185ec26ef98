"""Command line: ``python -m service``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cxr.command_line import run_command
from service.commands import drift, gateway, jobs, keys, predict, serve, shadow

COMMANDS = {
    "serve": serve,
    "predict": predict,
    "gateway": gateway,
    "jobs": jobs,
    "keys": keys,
    "drift": drift,
    "shadow": shadow,
}


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Chest-radiograph inference. Research use only, not a medical device.",
        epilog="Everything else is set by CXR_* variables; see the configuration page.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS.values():
        command.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0] not in COMMANDS and given[0] not in ("-h", "--help")):
        given.insert(0, "serve")
    args = build_parser().parse_args(given)
    run = COMMANDS[args.command].run
    return run_command(lambda: run(args), when_interrupted="interrupted; nothing was written")


if __name__ == "__main__":
    sys.exit(main())
