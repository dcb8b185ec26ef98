"""Items that wait for a batch, and when one is due. Knows no engine."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.deadline import Deadline
from service.errors import DeadlineExceededError, QueueFullError
from service.telemetry.timeline import identity

P = TypeVar("P")
"""What an item asks: a model input, say."""

R = TypeVar("R")
"""What it is answered: its row of the engine's output."""

NOT_RUN = (
    "The deadline passed before the image could be run; it was dropped. "
    "Try again later or with fewer images."
)

FULL = "The queue is full and nothing of the request was queued. Try again later."


@dataclass(frozen=True)
class ItemOutput(Generic[R]):
    """What one item gets: the answer, its wait, and the duration and size of its run."""

    row: R
    queue_ms: float
    inference_ms: float
    batch_size: int = 1


@dataclass(eq=False)
class Item(Generic[P, R]):
    """One slot of a batch.

    ``found_busy`` tells whether the engine was running when it was accepted: only such items wait
    for company. Once its run ``is_running`` it is answered, not dropped. ``identity`` is its
    request's, for log lines.
    """

    payload: P
    deadline: Deadline
    answer: asyncio.Future[ItemOutput[R]]
    accepted_s: float
    found_busy: bool
    is_running: bool = False
    identity: dict[str, str] = field(default_factory=identity)

    def expire(self) -> None:
        """Fail the item because it was not run in time."""
        if not self.answer.done():
            self.answer.set_exception(DeadlineExceededError(NOT_RUN))


class BatchQueue(Generic[P, R]):
    """Bounded first-in-first-out queue that hands out batches. Belongs to the event loop."""

    def __init__(self, max_batch: int, batch_window_s: float, capacity: int) -> None:
        self.max_batch = max_batch
        self.capacity = capacity
        self._batch_window_s = batch_window_s
        self._items: deque[Item[P, R]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def verify_room(self, count: int, retry_after_s: int) -> None:
        """Raise QueueFullError if fewer than ``count`` places are free."""
        if len(self._items) + count > self.capacity:
            self.drop_done()
        if len(self._items) + count > self.capacity:
            raise QueueFullError(FULL, retry_after_s)

    def put(self, items: Sequence[Item[P, R]]) -> None:
        """Append items for which there is room."""
        self._items.extend(items)

    def drop_done(self) -> None:
        """Drop the items nobody waits for any more."""
        self._items = deque(item for item in self._items if not item.answer.done())

    def due_in_s(self, now_s: float, *, engine_busy: bool) -> float | None:
        """Return the seconds until the next batch is to be formed.

        0 if the batch is full, or the engine was idle when the oldest item came, so that a lone
        client never waits for company; else what is left of the oldest item's window. None while
        the engine is busy or nothing waits.
        """
        if not self._items:
            return None
        if len(self._items) >= self.max_batch:
            return 0.0
        if engine_busy:
            return None
        oldest = self._items[0]
        if not oldest.found_busy:
            return 0.0
        return max(0.0, oldest.accepted_s + self._batch_window_s - now_s)

    def take(self) -> list[Item[P, R]]:
        """Take a batch of the oldest items; cancelled and late ones are dropped."""
        batch: list[Item[P, R]] = []
        while self._items and len(batch) < self.max_batch:
            item = self._items.popleft()
            if item.deadline.is_over:
                item.expire()
            if not item.answer.done():
                batch.append(item)
        return batch
