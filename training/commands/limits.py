"""``python -m training limits``."""

from __future__ import annotations

import argparse
from pathlib import Path

from cxr.command_line import add_data, add_quiet
from training.commands.arguments import Commands, add_compute, compute_of


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    limits = commands.add_parser("limits", help="fit and measure scope gate and abstaining anew")
    limits.add_argument("--run", type=Path, required=True, help="changed in place")
    add_data(limits)
    for flag, text in (
        ("--frontal", "frontal radiographs of another hospital: fitted on, measured by halves"),
        ("--others", "frontal radiographs of patients the model is not for: fitted on likewise"),
        ("--laterals", "radiographs of the chest from the side: fitted on likewise"),
        ("--in-scope", "further frontal radiographs, only measured"),
        ("--out-of-scope", "pictures of anything else, only measured"),
    ):
        of_whom = "[POPULATION:]" * (flag == "--frontal")
        limits.add_argument(
            flag, action="append", default=[], metavar=f"{of_whom}NAME=DIR", help=text
        )
    add_compute(limits)
    add_quiet(limits)
    return limits


def run(arguments: argparse.Namespace) -> None:
    """Replace the run's limits and print their figures."""
    from training.reliability.limits import (
        ExternalImages,
        format_limits,
        named_folder,
        patients_folder,
        refit_limits,
    )

    external = ExternalImages(
        frontal=tuple(map(patients_folder, arguments.frontal)),
        others=tuple(map(named_folder, arguments.others)),
        laterals=tuple(map(named_folder, arguments.laterals)),
        in_scope=tuple(map(named_folder, arguments.in_scope)),
        out_of_scope=tuple(map(named_folder, arguments.out_of_scope)),
    )
    compute = compute_of(arguments)
    run = refit_limits(arguments.run, arguments.data, external, compute, arguments.quiet)
    print(format_limits(run))
