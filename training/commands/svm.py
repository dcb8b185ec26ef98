"""``python -m training svm``."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.commands.arguments import Commands, add_deriving, deriving_job

KERNELS = ("linear", "rbf")


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the parser."""
    svm = commands.add_parser("svm", help="make a run whose classifier is an SVM on embeddings")
    svm.add_argument("--run", type=Path, required=True, help="gives the embeddings")
    svm.add_argument("--name", help="of the new run; default: the run's, and -svm")
    svm.add_argument("--kernel", choices=KERNELS, default=KERNELS[0])
    svm.add_argument(
        "--c", type=float, nargs="+", default=[0.001, 0.01, 0.1, 1.0], help="candidates for C"
    )
    add_deriving(svm)
    return svm


def run(arguments: argparse.Namespace) -> None:
    """Replace a run's classifier by a support vector machine."""
    from training.runs.derive import open_member
    from training.runs.svm import fit_svm_run

    member = open_member(arguments.run)
    job = deriving_job(arguments, arguments.name or f"{member.run.name}-svm")
    print(f"run written to {fit_svm_run(member, arguments.kernel, arguments.c, job)}")
