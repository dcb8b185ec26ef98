"""Write down which of our lines run in which test, in this process and in those it starts.

Python imports this at start where its folder is on PYTHONPATH. A line is attributed to the test
that runs it; what a fixture or another process runs, to the whole module of tests.
"""

import os
import sys
import threading
from types import FrameType
from typing import Any

FOLDER = os.environ.get("MUTANTS_LINES", "")
ROOT = os.environ.get("MUTANTS_ROOT", "") + os.sep
PACKAGES = tuple(ROOT + name + os.sep for name in os.environ.get("MUTANTS_PACKAGES", "").split())
INHERITED = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]

seen: set[tuple[str, str, int]] = set()
file = os.open(f"{FOLDER}/{os.getpid()}.lines", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def place() -> str:
    """Return the test that runs, or the module of tests if it is not the test's own code."""
    test, _, phase = os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")
    if INHERITED or phase != "(call)":
        return INHERITED or test.partition("::")[0]
    return test


def trace(frame: FrameType, event: str, arg: object) -> Any:
    """Follow the calls of our functions."""
    code = frame.f_code
    if not code.co_filename.startswith(PACKAGES):
        return None
    where, name = place(), code.co_filename.removeprefix(ROOT)

    def note(frame: FrameType, event: str, arg: object) -> Any:
        key = (where, name, frame.f_lineno)
        if key not in seen:
            seen.add(key)
            os.write(file, "\t".join(map(str, key)).encode() + b"\n")
        return note

    return note


threading.settrace(trace)
sys.settrace(trace)
