"""Shadows: versions that answer in the background, to be compared with the active one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from cxr.images.decoding import Preprocessing
from service.answers import ImageResult
from service.deadline import Clock, Deadline
from service.engines.buckets import bucket_sizes
from service.engines.protocol import OutputRow
from service.errors import InferenceFailedError, QueueFullError
from service.images.preparation import PreparedImage
from service.models.models import Models, ServedModel
from service.models.predictor import build_result
from service.scheduling.cores import Cores
from service.scheduling.lane import DeviceLane, EngineRunner
from service.scheduling.priority import lower_priority
from service.settings import Settings
from service.telemetry.logs import log_event
from service.telemetry.recorder import NULL_RECORDER, Recorder

T = TypeVar("T")

BUSY, FAILED, OTHER_INPUT = "busy", "failed", "other-input"
"""Why an image is not compared: no time for it, no answer of the shadow's, or a shadow that takes
another input than the version in force."""

LOOK_EVERY_S = 0.01
LONGEST_WAIT_S = 2.0
"""For a moment in which nobody else wants a core; then the image is dropped."""


@dataclass(frozen=True)
class _Item:
    """One answered image, without its encoded bytes and its picture."""

    name: str
    shadow: str
    active: str
    spec: Preprocessing
    image: PreparedImage
    result: ImageResult
    since_s: float


class ShadowComparison:
    """Compares the answers of shadows. Belongs to the event loop.

    It has one thread of low priority, and begins nothing while anybody waits for a core or the
    device: an answer neither waits for a shadow nor fails with it. What finds no time is dropped
    and counted.
    """

    def __init__(
        self, settings: Settings, models: Models, pool: Cores, clock: Clock = time.monotonic
    ) -> None:
        self._shadows = settings.shadow
        self._models = models
        self._pool = pool
        self._clock = clock
        self._capacity = settings.shadow_queue_capacity
        self._deadline_ms = settings.deadline_ms
        self._waiting: deque[_Item] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="shadow", initializer=lower_priority
        )
        self._complained: set[tuple[str, str]] = set()
        self.recorder: Recorder = NULL_RECORDER

    @property
    def depth(self) -> int:
        """Number of images that wait."""
        return len(self._waiting)

    def offer(self, served: ServedModel, image: PreparedImage, result: ImageResult) -> None:
        """Take an answer for comparison, if it is the active version's and there is room."""
        name = served.name
        active = self._models.versions_of(name).active
        if active is None or active.payload is not served:
            return
        for shadowed, number in self._shadows:
            if shadowed != name or number == active.key:
                continue
            if len(self._waiting) >= self._capacity:
                self.recorder.shadow_dropped(name, number, BUSY)
                continue
            spec, now_s = served.manifest.preprocessing, self._clock()
            kept = replace(image, picture=None)
            self._waiting.append(_Item(name, number, active.key, spec, kept, result, now_s))
            self._arrived.set()

    async def answer(self) -> None:
        """Compare what was offered, until cancelled."""
        while True:
            while self._waiting:
                item = self._waiting.popleft()
                try:
                    reason = await self._compare(item)
                except Exception as error:  # whatever a shadow does, answers go on
                    reason = FAILED
                    self._complain(item, error)
                if reason is not None:
                    self.recorder.shadow_dropped(item.name, item.shadow, reason)
            self._arrived.clear()
            await self._arrived.wait()

    def close(self) -> None:
        """Drop what waits and end the thread."""
        self._waiting.clear()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _compare(self, item: _Item) -> str | None:
        """Compare one image, or return the reason why not."""
        version = self._models.versions_of(item.name).by_key.get(item.shadow)
        if version is None or not version.is_loaded:
            return FAILED
        with self._models.hold(version) as shadow:
            if shadow.manifest.preprocessing != item.spec:
                return OTHER_INPUT
            if not await self._is_quiet(item, shadow):
                return BUSY
            try:
                row = await self._run(shadow, item.image)
            except QueueFullError:
                return BUSY
            result = await self._on_thread(partial(_result_of, item, row, shadow))
        self.recorder.shadow_compared(
            item.name,
            (item.active, item.shadow),
            (item.result.decision, result.decision),
            abs(item.result.probability - result.probability),
        )
        return None

    async def _is_quiet(self, item: _Item, shadow: ServedModel) -> bool:
        """Wait for a moment in which nobody waits for what the shadow needs."""
        while self._clock() - item.since_s < LONGEST_WAIT_S:
            if not self._pool.waiting and not self._device_queue(shadow):
                return True
            await asyncio.sleep(LOOK_EVERY_S)
        return False

    def _device_queue(self, shadow: ServedModel) -> int:
        if not isinstance(shadow.lane, DeviceLane):
            return 0
        return sum(
            served.lane.batcher.depth
            for served in self._models.held
            if isinstance(served.lane, DeviceLane)
        )

    async def _run(self, shadow: ServedModel, image: PreparedImage) -> OutputRow:
        if isinstance(shadow.lane, DeviceLane):
            deadline = Deadline.after_ms(self._deadline_ms)
            [answer] = shadow.lane.batcher.submit([image.model_input], deadline)
            return (await answer).row
        engine = shadow.loaded.engine
        run = EngineRunner(engine, bucket_sizes(engine.max_batch)).form([image.model_input])
        [row] = await self._on_thread(run)
        if isinstance(row, InferenceFailedError):
            raise row
        return row

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(work))

    def _complain(self, item: _Item, error: Exception) -> None:
        """Log the first failure of a shadow; the others are counted."""
        if (item.name, item.shadow) not in self._complained:
            self._complained.add((item.name, item.shadow))
            log_event(logging.ERROR, "shadow failed", error, model=item.name, version=item.shadow)


def _result_of(item: _Item, row: OutputRow, shadow: ServedModel) -> ImageResult:
    """Decide at the operating point of the same name, if the shadow has one."""
    wanted, points = item.result.operating_point.name, shadow.manifest.operating_points
    point = shadow.operating_point(wanted if wanted in {one.name for one in points} else None)
    # What it would refuse it refers: there is a decision to compare either way.
    return build_result("0", item.image, row, shadow.loaded, point, may_refuse=False)
