"""How a command of ours ends."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from cxr.errors import CxrError

OK, FAILED = 0, 1
INTERRUPTED = 130  # the shell's code for SIGINT
TERMINATED = 143  # and for SIGTERM


def run_command(command: Callable[[], int | None], when_interrupted: str) -> int:
    """Run a command and give the exit status of its process.

    Args:
        command: May give a status of its own. Raises CxrError or OSError for what its user
            can mend, told in one line.
        when_interrupted: What to say after Ctrl-C.
    """
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
