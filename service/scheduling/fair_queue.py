"""Jobs that wait, shared fairly among flows."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from typing import Generic, TypeVar

J = TypeVar("J")


class FairQueue(Generic[J]):
    """Gives every flow that waits the same share of the time, however much the others have waiting.

    Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): a job starts in a virtual time in
    which each flow has the cores to itself. Within a flow the older job comes first. It knows no
    threads: whoever shares it holds a lock.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, J]] = []
        self._order = itertools.count()
        self._now_s = 0.0  # of the virtual time
        self._free_at_s: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[J]:
        """Iterate over what waits, in no order."""
        return (job for _, _, job in self._waiting)

    def put(self, job: J, flow: str = "", cost_s: float = 0.0) -> None:
        """Queue a job of a flow.

        ``cost_s`` is what it is expected to take: small jobs that cost nothing hardly wait.
        """
        start_s = max(self._now_s, self._free_at_s.get(flow, 0.0))
        self._free_at_s[flow] = start_s + cost_s
        heapq.heappush(self._waiting, (start_s, next(self._order), job))

    def put_back(self, job: J) -> None:
        """Queue a job that had its turn already: it comes next."""
        heapq.heappush(self._waiting, (self._now_s, -next(self._order), job))

    @property
    def next(self) -> J:
        """The next job; IndexError if none waits."""
        return self._waiting[0][2]

    def take(self) -> J:
        """Take the next job; IndexError if none waits."""
        self._now_s, _, job = heapq.heappop(self._waiting)
        return job

    def drop(self, job: J) -> None:
        """Take a job out, if it is still there."""
        left = [one for one in self._waiting if one[2] is not job]
        if len(left) < len(self._waiting):
            heapq.heapify(left)
            self._waiting = left

    def clear(self) -> None:
        """Drop everything that waits."""
        self._waiting.clear()
