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


@dataclass(frozen=True)
class ItemOutput(Generic[R]):
    """What one item gets.

    Attributes:
        row: The answer.
        queue_ms: Wait from being accepted to the start of its run.
        inference_ms: Duration of that run.
        batch_size: Number of items in it.
    """

    row: R
    queue_ms: float
    inference_ms: float
    batch_size: int = 1


@dataclass(eq=False)
class Item(Generic[P, R]):
    """One slot of a batch.

    Attributes:
        payload: What is asked.
        deadline: The item is not run afterwards.
        answer: Done when answered, failed, or cancelled by whoever waited for it.
        accepted_s: When it was accepted.
        found_busy: Whether the engine was running then: only such items wait for company.
        is_running: Whether its run has begun; from then on it is answered, not dropped.
        identity: Of its request, for log lines.
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
    """Bounded first-in-first-out queue that hands out batches. Belongs to the event loop.

    Args:
        max_batch: Most items in a batch.
        batch_window_s: Longest wait of the oldest item once the engine is free.
        capacity: Most items that may wait.
    """

    def __init__(self, max_batch: int, batch_window_s: float, capacity: int) -> None:
        self.max_batch = max_batch
        self.capacity = capacity
        self._batch_window_s = batch_window_s
        self._items: deque[Item[P, R]] = deque()

    def __len__(self) -> int:
        return len(self._items)

    def verify_room(self, count: int, retry_after_s: int) -> None:
        """Refuse what does not fit as a whole.

        Raises:
            QueueFullError: Fewer than ``count`` places are free.
        """
        if len(self._items) + count > self.capacity:
            self.drop_done()
        if len(self._items) + count > self.capacity:
            raise QueueFullError(
                "The queue is full and nothing of the request was queued. Try again later.",
                retry_after_s,
            )

    def put(self, items: Sequence[Item[P, R]]) -> None:
        """Append items for which there is room."""
        self._items.extend(items)

    def drop_done(self) -> None:
        """Drop the items nobody waits for any more."""
        self._items = deque(item for item in self._items if not item.answer.done())

    def due_in_s(self, now_s: float, *, engine_busy: bool) -> float | None:
        """Return the seconds until the next batch is to be formed.

        Args:
            now_s: The clock's time.
            engine_busy: Whether no further run can begin now; a full batch is formed nevertheless.

        Returns:
            0 if the batch is full, or the engine was idle when the oldest item came, so that a lone
            client never waits for company. Otherwise what is left of the oldest item's window; None
            while the engine runs or nothing waits.
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
