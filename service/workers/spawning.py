"""Starts worker processes.

Little is imported here, so that they begin before everything else is.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

SLOTS = 2
"""Orders that a worker has at a time: what it is at, and what it does next."""


class Spawned(NamedTuple):
    """A process that was started.

    Attributes:
        process: The process.
        socket: This side's end of the socket pair to it.
        slots: File descriptors of memory that is shared with it; none where the system has no such.
    """

    process: subprocess.Popen[bytes]
    socket: socket.socket
    slots: tuple[int, ...]


def spawn(level: int, *, stands_back: bool = False, is_quiet: bool = False) -> Spawned:
    """Start a worker process, which ends with this one.

    Args:
        level: What it logs from, a level of the ``logging`` module.
        stands_back: Whether others have precedence on the cores.
        is_quiet: Whether it logs nothing but warnings, since another one says the same.
    """
    name = logging.getLevelName(max(level, logging.WARNING) if is_quiet else level)
    slots = tuple(os.memfd_create("cxr") for _ in range(SLOTS)) if sys.platform == "linux" else ()
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - ourselves
                [
                    *(sys.executable, "-m", "service.workers", str(theirs.fileno())),
                    *(name, "low" if stands_back else "normal", *map(str, slots)),
                ],
                pass_fds=[theirs.fileno(), *slots],
                stdin=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for the service, which finishes with their help
            )
    except OSError:
        ours.close()
        for slot in slots:
            os.close(slot)
        raise
    ours.setblocking(False)
    return Spawned(process, ours, slots)


@contextmanager
def spawned_workers(count: int, level: str) -> Iterator[list[Spawned]]:
    """Start the processes of a pool, of which one logs for all; at the end none is left."""
    least = logging.getLevelNamesMapping()[level.upper()]
    spawned = [spawn(least, is_quiet=number > 0) for number in range(count)]
    try:
        yield list(spawned)
    finally:
        for process, connection, _ in spawned:  # the system closes the slots
            connection.close()
            process.kill()
            process.wait()
