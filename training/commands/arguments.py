"""Arguments that several commands of ``python -m training`` share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from training.device import Compute

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_split_file(command: argparse.ArgumentParser) -> None:
    """Add ``--split-file``."""
    command.add_argument(
        "--split-file", type=Path, help="split.csv of a run whose patients to keep apart likewise"
    )


def add_compute(command: argparse.ArgumentParser) -> None:
    """Add where a command computes."""
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.add_argument("--threads", type=int, default=0, help="CPU threads; default: all")


def compute_of(arguments: argparse.Namespace) -> Compute:
    """Choose the device, and set the CPU threads of this process.

    Raises:
        RunError: There is no such device.
    """
    import torch

    from training.device import choose_compute

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    return choose_compute(arguments.device)
