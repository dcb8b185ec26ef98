"""Jobs for workers. They are imported there by name."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr.errors import ImageOutOfScopeError
from service.errors import QueueFullError
from service.workers.messages import frame

KEPT: dict[str, int] = {}


def pid() -> int:
    """Tell which process this is."""
    return os.getpid()


def double(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give an array back."""
    return pixels * 2


def nap(duration_s: float) -> int:
    """Take a while."""
    time.sleep(duration_s)
    return os.getpid()


def echo(number: int) -> tuple[int, int]:
    """Give a number back, and how many were done together."""
    return number, 1


def slow_echo(number: int, duration_s: float) -> tuple[int, int]:
    """Give a number back after a while."""
    time.sleep(duration_s)
    return number, 1


def together(jobs: Sequence[Callable[[], tuple[int, int]]]) -> list[tuple[int, int]]:
    """Do several at once."""
    return [(job()[0], len(jobs)) for job in jobs]


def refuse() -> None:
    """Fail deliberately."""
    raise ImageOutOfScopeError("It is a hand.", "not-a-chest")


def be_full() -> None:
    """Fail by an error that is not made of its message alone."""
    raise QueueFullError("Full.", 7)


def stumble() -> None:
    """Fail as no job should, with a secret in the text."""
    raise KeyError("Doe^Jane")


def run_out() -> None:
    """Have no memory."""
    raise MemoryError


def crash(times: Path | None = None, at_most: int = 9) -> str:
    """End the process as a decoder's fault would, so many times."""
    if times is not None:
        with times.open("a") as file:
            file.write("x")
        if len(times.read_text()) > at_most:
            return "survived"
    ctypes.string_at(0)
    return "unreachable"


def take_memory(most_bytes: int) -> int:
    """Take more and more memory, and use it."""
    held = []
    while len(held) * 2**20 < most_bytes:
        held.append(bytearray(os.urandom(4096)) * 256)
    time.sleep(30)
    return len(held)


class Evil:
    """What a worker that was taken over might send."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Have the receiver call something."""
        return os.kill, (os.getppid(), signal.SIGKILL)


def betray() -> None:
    """Send it, past whatever sends outcomes."""
    parts = frame([memoryview(pickle.dumps(Evil()))])
    os.write(int(sys.argv[1]), b"".join(parts))


def give_odd() -> object:
    """Give what is no plain data."""
    return object()


def keep(name: str, value: int) -> int:
    """Leave something in the process."""
    KEPT[name] = value
    return value


def forget(name: str) -> None:
    """Remove it again."""
    KEPT.pop(name, None)


def kept(name: str) -> tuple[int, int | None]:
    """Tell which process this is, and what was left in it."""
    return os.getpid(), KEPT.get(name)
