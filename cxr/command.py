"""How a command of ours ends."""

from __future__ import annotations

import sys
from collections.abc import Callable

from cxr.errors import CxrError

OK, FAILED = 0, 1
INTERRUPTED = 130  # the shell's code for SIGINT


def run_command(command: Callable[[], object], when_interrupted: str) -> int:
    """Run a command and give the exit status of its process.

    Args:
        command: Raises CxrError for what its user can mend, which is told in one line.
        when_interrupted: What to say after Ctrl-C.
    """
    try:
        command()
    except CxrError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(when_interrupted, file=sys.stderr)
        return INTERRUPTED
    return OK
