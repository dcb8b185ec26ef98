"""Objects per second into a receiver, by dcmtk's storescu."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.child import MeasureError
from benchmarks.gateway.receivers import AE_TITLE, HOST, Receiver, tool

SENDERS = 4  # at a time, where each object has an association of its own
TIMEOUT_S = 300


def send(receiver: Receiver, paths: Iterable[Path]) -> None:
    """Send objects on one association.

    Raises:
        MeasureError: The receiver did not take each of them.
    """
    command = [tool("storescu"), "-aec", AE_TITLE, HOST, str(receiver.port), *map(str, paths)]
    sent = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False)
    if sent.returncode:
        raise MeasureError(f"storescu: {sent.stderr.decode(errors='replace')[-300:]}")


def one_association(receiver: Receiver, paths: Sequence[Path]) -> float:
    """Give objects per second on one association."""
    began_s = time.perf_counter()
    send(receiver, paths)
    return len(paths) / (time.perf_counter() - began_s)


def association_each(receiver: Receiver, paths: Sequence[Path]) -> float:
    """Give objects per second with an association, and a process of storescu, for each."""
    began_s = time.perf_counter()
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(lambda path: send(receiver, [path]), paths))
    return len(paths) / (time.perf_counter() - began_s)
