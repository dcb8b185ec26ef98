"""Starts worker processes.

Little is imported here, so that they begin before everything else is.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Spawned(NamedTuple):
    """A process that was started, and this side's end of the socket pair to it."""

    process: subprocess.Popen[bytes]
    socket: socket.socket


def spawn(level: int, *, stands_back: bool = False, is_quiet: bool = False) -> Spawned:
    """Start a worker process, which ends with this one.

    Args:
        level: What it logs from, a level of the ``logging`` module.
        stands_back: Whether others have precedence on the cores.
        is_quiet: Whether it logs nothing but warnings, since another one says the same.
    """
    name = logging.getLevelName(max(level, logging.WARNING) if is_quiet else level)
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [
                *(sys.executable, "-m", "service.workers", str(theirs.fileno())),
                *(name, "low" if stands_back else "normal"),
            ],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
    ours.setblocking(False)
    return Spawned(process, ours)


@contextmanager
def spawned_workers(count: int, level: str) -> Iterator[list[Spawned]]:
    """Start the processes of a pool, of which one logs for all; at the end none is left."""
    least = logging.getLevelNamesMapping()[level.upper()]
    spawned = [spawn(least, is_quiet=number > 0) for number in range(count)]
    try:
        yield list(spawned)
    finally:
        for process, connection in spawned:
            connection.close()
            process.kill()
            process.wait()
