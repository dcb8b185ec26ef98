"""One image's way through decoding, queue and run, as it went."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.deadline import Clock


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: Of ``service.telemetry.stopwatch``.
        started_s: By the course's clock.
        ended_s: Likewise.
        is_done: False if it ended with an exception.
    """

    name: str
    started_s: float
    ended_s: float
    is_done: bool = True


class Course:
    """What became of one image, also if it failed. One thread at a time.

    Args:
        clock: Gives seconds.

    Attributes:
        stages: In their order.
        batch_size: Images of its run, 0 before it.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self.stages: list[Stage] = []
        self.batch_size = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Note what is done inside."""
        started_s, is_done = self._clock(), False
        try:
            yield
            is_done = True
        finally:
            self.add(name, started_s, self._clock(), is_done=is_done)

    def add(self, name: str, started_s: float, ended_s: float, *, is_done: bool = True) -> None:
        """Note a stage that was measured."""
        self.stages.append(Stage(name, started_s, ended_s, is_done))
