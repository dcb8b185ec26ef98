"""What the command lines share: common arguments, and how a command ends."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from cxr.errors import CxrError

OK, FAILED = 0, 1
INTERRUPTED = 130  # the shell's code for SIGINT
TERMINATED = 143  # and for SIGTERM


def run_command(command: Callable[[], int | None], when_interrupted: str) -> int:
    """Run a command, report CxrError and OSError in one line, and return the exit status."""
    if os.getpid() == 1:  # in a container: the kernel drops signals of it that have no handler
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        return command() or OK
    except CxrError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:  # a full disk, a folder that may not be written to
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or type(error).__name__}.", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(when_interrupted, file=sys.stderr)
        return INTERRUPTED


def add_data(command: argparse.ArgumentParser) -> None:
    """Add ``--data``, which may be repeated."""
    command.add_argument(
        "--data",
        type=Path,
        required=True,
        action="append",
        help="folder that holds train/ ..., or a CSV file (docs/data.md); repeat it for several",
    )


def add_quiet(command: argparse.ArgumentParser) -> None:
    """Add ``--quiet``."""
    command.add_argument("--quiet", action="store_true", help="no progress bars")
