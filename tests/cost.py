"""What a call costs in processor time and memory, for tests of what a file may cost."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Of one call.

    Attributes:
        cpu_s: Processor time of this process, the least of several tries.
        peak_bytes: Most memory that Python and NumPy held for it at a time.
    """

    cpu_s: float
    peak_bytes: int


def cost_of(call: Callable[[], object], tries: int = 3) -> Cost:
    """Measure a call that has no lasting effect and raises nothing."""
    times = []
    for _ in range(tries):
        begun_s = time.process_time()
        call()
        times.append(time.process_time() - begun_s)
    tracemalloc.start()
    try:
        call()
        return Cost(min(times), tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
