"""What happens to a request and to each of its images, written down once.

The log line, Server-Timing, the timings of an answer, spans and histograms are derived from it
when the request ends.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from cxr.bundles.reference import Reference, bin_of
from service.answers import ResultDigest
from service.deadline import Clock
from service.telemetry import tracing

RECV, DECODE, QUEUE, INFER, EXPLAIN = "recv", "decode", "queue", "infer", "explain"
STAGES = (RECV, DECODE, QUEUE, INFER)
"""Stages of every request that reads images; one that has more records them."""

MS_PER_S = 1000.0
FAILED = "image-failed"
"""Error type of an image's span; the request's span has the problem."""


class Stage(NamedTuple):
    """A span of time, by the timeline's clock, and the type of its error, if any."""

    name: str
    started_s: float
    ended_s: float
    error: str | None = None


class Stages:
    """Stages of some work, in the order of their ends."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.stages: list[Stage] = []
        self.error: Exception | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Record the enclosed work as a stage."""
        started_s, failure = self.clock(), None
        try:
            yield
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            self.stages.append(Stage(name, started_s, self.clock(), failure))


class ImageTimeline(Stages):
    """Stages and outcome of one image: its result, or why it failed. One thread at a time."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        super().__init__(clock)
        self.batch_size = 0
        self.result: ResultDigest | None = None


class Timeline(Stages):
    """One request, with the stages of its own.

    Attributes:
        trace_id: 32 hexadecimal digits; None if the request is not traced.
        fields: Further members of the canonical log line.
        received_s: Time spent waiting for the body; None if none was read.
        problem: Slug of the problem it was answered with, which was raised as ``error``.
        is_image_problem: Whether that is its only image's problem, and counted there.
        model: Name and bundle digest of the model that answers, empty before it is chosen.
        reference: The model's answers on its validation images, if its bundle has them.
    """

    def __init__(
        self,
        request_id: str = "",
        clock: Clock = time.perf_counter,
        stages: Sequence[str] = STAGES,
    ) -> None:
        super().__init__(clock)
        self.request_id = request_id
        self.started_s = clock()
        self.trace_id: str | None = None
        self.fields: dict[str, Any] = {}
        self.images: list[ImageTimeline] = []
        self.received_s: float | None = None
        self.problem: str | None = None
        self.is_image_problem = False
        self.model = ("", "")
        self.reference: Reference | None = None
        self._reported = stages

    @property
    def total_s(self) -> float:
        """Seconds since the request's head was read."""
        return self.clock() - self.started_s

    def fail(self, problem: str, error: Exception | None = None, *, of_image: bool = False) -> None:
        """Record the problem, by its slug, that the request is answered with."""
        self.problem, self.error, self.is_image_problem = problem, error, of_image

    def add_images(self, count: int) -> list[ImageTimeline]:
        """Return timelines for this many images."""
        self.images = [ImageTimeline(self.clock) for _ in range(count)]
        return self.images

    def spent_s(self) -> dict[str, float]:
        """Return seconds by stage: of images side by side, those of the slowest in each."""
        spent: dict[str, float] = {}
        if self.received_s is not None:
            spent[RECV] = self.received_s
        for image in self.images:
            of_image: defaultdict[str, float] = defaultdict(float)
            for stage in image.stages:
                of_image[stage.name] += stage.ended_s - stage.started_s
            for name, duration_s in of_image.items():
                spent[name] = max(spent.get(name, 0.0), duration_s)
        for stage in self.stages:
            spent[stage.name] = spent.get(stage.name, 0.0) + stage.ended_s - stage.started_s
        return spent

    def timings_ms(self) -> dict[str, float]:
        """Return milliseconds by stage, 0 for one not reached, and the total; rounded."""
        every = dict.fromkeys(self._reported, 0.0) | self.spent_s() | {"total": self.total_s}
        return {name: round(duration_s * MS_PER_S, 3) for name, duration_s in every.items()}

    def answer_timings_ms(self) -> dict[str, float]:
        """Return the same under the names of JSON answers, without receiving."""
        timings_ms = self.timings_ms()
        timings_ms.pop(RECV, None)
        return {("inference" if name == INFER else name): ms for name, ms in timings_ms.items()}

    def image_fields(self, slug_of: Callable[[Exception], str]) -> dict[str, Any]:
        """Return what the canonical log line says of the images.

        Bins of probabilities are sorted, so that they say nothing of the order of the images.
        """
        if not self.images:
            return {}
        fields: dict[str, Any] = {"batch_size": max(image.batch_size for image in self.images)}
        if results := [image.result for image in self.images if image.result is not None]:
            fields["decisions"] = dict(Counter(result.decision for result in results))
            fields["out_of_scope"] = sum(result.code is not None for result in results)
            fields["probability_bins"] = sorted(bin_of(result.probability) for result in results)
        if problems := {slug_of(image.error) for image in self.images if image.error is not None}:
            fields["problems"] = sorted(problems)
        return fields

    def record_spans(self) -> None:
        """Send the stages to the collector, as children of the current span."""
        for stage in self.stages:
            tracing.record_span(stage.name, stage.started_s, stage.ended_s, stage.error)
        for image in self.images:
            for stage in image.stages:
                attributes = {"cxr.batch_size": image.batch_size} if stage.name == INFER else {}
                failure = None if stage.error is None else FAILED
                tracing.record_span(stage.name, stage.started_s, stage.ended_s, failure, attributes)


CURRENT: ContextVar[Timeline | None] = ContextVar("timeline", default=None)
"""The timeline of the request that is being worked on; threads and tasks it begins see it too."""


IDENTITY: ContextVar[dict[str, str] | None] = ContextVar("identity", default=None)
"""The same of a request of another process, for which a worker works."""


def identity() -> dict[str, str]:
    """Return the members that identify the current request in log lines, none outside one."""
    timeline = CURRENT.get()
    if timeline is None:
        return IDENTITY.get() or {}
    if timeline.trace_id is None:
        return {"request_id": timeline.request_id}
    return {"request_id": timeline.request_id, "trace_id": timeline.trace_id}


@contextmanager
def identified(members: dict[str, str]) -> Iterator[None]:
    """Identify log lines by a request of another process."""
    token = IDENTITY.set(members)
    try:
        yield
    finally:
        IDENTITY.reset(token)


def note(**fields: Any) -> None:
    """Add members to the current request's canonical log line, if there is one."""
    timeline = CURRENT.get()
    if timeline is not None:
        timeline.fields.update(fields)
