"""Commands that make a run out of finished ones: ``python -m training ensemble|svm``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.arguments import add_data, add_quiet
from training.commands.arguments import Commands, add_compute, compute_of

if TYPE_CHECKING:
    from training.runs.derive import DerivingJob

KERNELS = ("linear", "rbf")


def add_ensemble(commands: Commands) -> None:
    """Add the ensemble's arguments."""
    ensemble = commands.add_parser("ensemble", help="make one run out of several finished ones")
    ensemble.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run directory")
    ensemble.add_argument("--name", required=True, help="of the new run")
    _add_deriving(ensemble)


def add_svm(commands: Commands) -> None:
    """Add the arguments of the support vector machine."""
    svm = commands.add_parser("svm", help="make a run whose classifier is an SVM on embeddings")
    svm.add_argument("--run", type=Path, required=True, help="gives the embeddings")
    svm.add_argument("--name", help="of the new run; default: the run's, and -svm")
    svm.add_argument("--kernel", choices=KERNELS, default=KERNELS[0])
    svm.add_argument(
        "--c", type=float, nargs="+", default=[0.001, 0.01, 0.1, 1.0], help="candidates for C"
    )
    _add_deriving(svm)


def _add_deriving(command: argparse.ArgumentParser) -> None:
    command.add_argument("--version", default="1.0.0", help="of the new run")
    add_data(command)
    command.add_argument("--out", type=Path, required=True, help="run directory to make")
    add_compute(command)
    add_quiet(command)


def _job(arguments: argparse.Namespace, name: str) -> DerivingJob:
    from training.runs.derive import DerivingJob

    return DerivingJob(
        name=name,
        version=arguments.version,
        data=arguments.data,
        out=arguments.out,
        compute=compute_of(arguments),
        quiet=arguments.quiet,
    )


def run_ensemble(arguments: argparse.Namespace) -> None:
    """Make an ensemble."""
    from training.runs.combine import combine_runs

    written = combine_runs(arguments.runs, _job(arguments, arguments.name))
    print(f"run written to {written}")


def run_svm(arguments: argparse.Namespace) -> None:
    """Put a support vector machine on a run's embeddings."""
    from training.runs.derive import open_member
    from training.runs.svm import put_svm

    member = open_member(arguments.run)
    job = _job(arguments, arguments.name or f"{member.run.name}-svm")
    print(f"run written to {put_svm(member, arguments.kernel, arguments.c, job)}")
