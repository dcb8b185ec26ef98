"""Threads of low priority."""

from __future__ import annotations

import os
import sys
import threading

NICENESS = 10  # a tenth of the share of a thread at 0, where both want the same core


def lower_priority() -> None:
    """Lower the priority of the calling thread, and of threads it starts from now on.

    On Linux niceness is a thread's own (sched(7)); elsewhere it is the process's, and nothing
    is done. It is kept moderate: the thread must return the interpreter's lock soon.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
