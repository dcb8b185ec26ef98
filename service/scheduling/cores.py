"""What does the costly work: threads of this process, or processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pickle import PickleBuffer
from typing import Any, Protocol, TypeVar

from service.deadline import Deadline

T = TypeVar("T")


@dataclass(frozen=True)
class Beside:
    """Bytes that go to another process beside the pickle of a job: they are not copied into it."""

    data: bytes

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave them to whoever sends the pickle."""
        return _arrived, (PickleBuffer(self.data),)


def _arrived(data: Any) -> Beside:
    return Beside(bytes(data))  # bytes are not copied


def on_bytes(work: Callable[..., T], data: bytes, *rest: Any) -> Callable[[], T]:
    """Return a job that does some work on many bytes."""
    return partial(_on_bytes, work, Beside(data), *rest)


def _on_bytes(work: Callable[..., T], sent: Beside, *rest: Any) -> T:
    return work(sent.data, *rest)


@dataclass(frozen=True, eq=False)
class Batching:
    """How jobs are done together; those may be that share one object of it.

    Attributes:
        do: Does jobs, and gives what each would have given.
        most: How many at most.
    """

    do: Callable[[Sequence[Any]], Sequence[Any]]
    most: int


NOT_BEGUN = (
    "The deadline passed before the image was read; it was dropped. "
    "Try again later or with fewer images."
)


class Cores(Protocol):
    """Runs jobs on a fixed number of cores, shared fairly among flows."""

    @property
    def size(self) -> int:
        """Number of jobs done at a time."""

    @property
    def waiting(self) -> int:
        """Number of jobs that have not begun."""

    @property
    def stalled_s(self) -> float:
        """Seconds for which every core has been at one job; 0 while one of them is free."""

    async def run(
        self,
        job: Callable[[], T],
        deadline: Deadline,
        *,
        flow: str = "",
        cost_s: float = 0.0,
        batching: Batching | None = None,
    ) -> T:
        """Await a job; cancelled, it is dropped unless it has begun.

        Jobs and what they give can be pickled: they may be done by another process.

        Args:
            job: What to do.
            deadline: When nobody waits for it any more.
            flow: A model's name. Every flow that waits gets the same share of the time.
            cost_s: Expected duration: small jobs that cost nothing hardly wait.
            batching: Of the jobs that may be done together with it, where that is quicker.

        Raises:
            DeadlineExceededError: It was not done before the deadline.
            Exception: What the job raises.
        """

    def close(self) -> None:
        """Drop what has not begun."""
