"""Metrics for Prometheus, whose library only this module loads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from cxr.errors import ImageOutOfScopeError, InputError
from service.answers import ModelRef, ResultDigest
from service.telemetry import metrics as declared
from service.telemetry.drift import Drift, DriftWatch
from service.telemetry.metrics import Metric
from service.telemetry.recorder import EXPLAIN, PREDICT
from service.telemetry.timeline import DECODE, STAGES, Timeline

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""Text format every scraper reads."""

MEASURED_STAGES = frozenset({*STAGES, EXPLAIN})

# A second series for every counter and histogram, read by nobody.
disable_created_metrics()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class QueueState:
    """Images in flight of a model that ``predict`` or ``explain``."""

    model: str
    work: str
    depth: int


@dataclass(frozen=True)
class WorkersState:
    """What the worker processes that ``predict`` or ``explain`` take."""

    work: str
    resident_bytes: int
    cpu_s: float


@dataclass(frozen=True)
class ServiceState:
    """What is read of the service when its metrics are requested.

    Attributes:
        waiting_for_core: Jobs that have not begun.
        gpu: Device number, bytes in use, and bytes in total.
        versions: Model, version and state.
    """

    is_ready: bool = False
    waiting_for_core: int = 0
    queues: tuple[QueueState, ...] = ()
    bundles: tuple[ModelRef, ...] = ()
    gpu: tuple[int, int, int] | None = None
    versions: tuple[tuple[str, str, str], ...] = ()
    workers: tuple[WorkersState, ...] = ()


GaugeValues: TypeAlias = tuple[Metric, Sequence[tuple[Sequence[str], float]]]
"""A gauge with its values, each under its labels."""


class MetricsPage:
    """Metrics of one application, and of the process, in a registry of its own."""

    def __init__(
        self, metrics: Sequence[Metric], read_gauges: Callable[[], Iterable[GaugeValues]]
    ) -> None:
        registry = self._registry = CollectorRegistry()
        gauges = [metric for metric in metrics if metric.kind == "gauge"]
        registry.register(_GaugeCollector(gauges, read_gauges))
        ProcessCollector(registry=registry)
        self._counters = {
            one: Counter(one.name, one.help, one.labels, registry=registry)
            for one in metrics
            if one.kind == "counter"
        }
        self._histograms = {
            one: Histogram(one.name, one.help, one.labels, buckets=one.buckets, registry=registry)
            for one in metrics
            if one.kind == "histogram"
        }
        # The library looks labels up under a lock, which would take longer than to count.
        self.counter = cache(self._counter)
        self.histogram = cache(self._histogram)

    def _counter(self, metric: Metric, *labels: str) -> Counter:
        """Return what counts under these labels."""
        counter = self._counters[metric]
        return counter.labels(*labels) if labels else counter

    def _histogram(self, metric: Metric, *labels: str) -> Histogram:
        """Return what measures under these labels."""
        histogram = self._histograms[metric]
        return histogram.labels(*labels) if labels else histogram

    def render(self) -> bytes:
        """Return the page, of type ``CONTENT_TYPE``."""
        return generate_latest(self._registry)


class Metrics(MetricsPage):
    """Counts and measures of the service. Belongs to the event loop."""

    def __init__(self, read_state: Callable[[], ServiceState] = ServiceState) -> None:
        self.drift = DriftWatch()
        super().__init__(
            (*declared.METRICS, *declared.VERSION_METRICS),
            lambda: _gauges_of(read_state(), self.drift.read()),
        )
        for work in (PREDICT, EXPLAIN):  # a rate begins at 0, not at the first that ended
            self.counter(declared.WORKERS_ENDED, work)

    def request_ended(
        self, route: str, status: int, timeline: Timeline, slug_of: Callable[[Exception], str]
    ) -> None:
        """Record a request and its images.

        Args:
            route: Template of its route, never its path.
            status: HTTP status; images count as answered below 400.
            timeline: What happened.
            slug_of: Returns the problem of an error.
        """
        self.counter(declared.REQUESTS, route, str(status)).inc()
        self.histogram(declared.REQUEST_SECONDS, route).observe(timeline.total_s)
        if timeline.problem is not None and not timeline.is_image_problem:
            self.counter(declared.REQUEST_PROBLEMS, timeline.problem).inc()
            if timeline.error is not None:
                self._decode_failed(timeline.error, timeline.problem)
        for name, spent_s in timeline.spent_s().items():
            if name in MEASURED_STAGES:
                self.histogram(declared.STAGE_SECONDS, name).observe(spent_s)
        for image in timeline.images:
            for stage in image.stages:
                if stage.name == DECODE and stage.error is None:
                    self.histogram(declared.DECODE_SECONDS).observe(stage.ended_s - stage.started_s)
            if image.error is not None:
                self._image_failed(timeline.model[0], image.error, slug_of(image.error))
            elif image.result is not None and status < 400:
                self._image_answered(timeline, image.result)

    def _image_answered(self, timeline: Timeline, result: ResultDigest) -> None:
        (model, digest), in_scope = timeline.model, result.code is None
        self.counter(declared.IMAGES, model, result.decision).inc()
        self.histogram(declared.PROBABILITY, model).observe(result.probability)
        if result.code is not None:
            self.counter(declared.OUT_OF_SCOPE, model, result.code).inc()
        window = self.drift.windows.get(model)
        if window is None or window.digest != digest:
            window = self.drift.begin(model, digest, timeline.reference)
        window.latest.append((result.probability, result.decision, in_scope))

    def _image_failed(self, model: str, error: Exception, slug: str) -> None:
        self.counter(declared.IMAGE_FAILURES, model, slug).inc()
        if isinstance(error, ImageOutOfScopeError):
            self.counter(declared.OUT_OF_SCOPE, model, error.code).inc()
        else:
            self._decode_failed(error, slug)

    def _decode_failed(self, error: Exception, slug: str) -> None:
        if isinstance(error, InputError) and not isinstance(error, ImageOutOfScopeError):
            self.counter(declared.DECODE_FAILURES, slug).inc()

    def batch_ran(self, model: str, work: str, waits_s: Sequence[float], run_s: float) -> None:
        """Record a run and the waits of its images."""
        self.histogram(declared.BATCH_SIZE, model, work).observe(len(waits_s))
        self.histogram(declared.RUN_SECONDS, model, work).observe(run_s)
        wait_s = self.histogram(declared.QUEUE_WAIT_SECONDS, model, work)
        for one_s in waits_s:
            wait_s.observe(one_s)

    def worker_ended(self, work: str) -> None:
        """Record that a worker process ended."""
        self.counter(declared.WORKERS_ENDED, work).inc()

    def shadow_compared(
        self, model: str, versions: tuple[str, str], decisions: tuple[str, str], difference: float
    ) -> None:
        """Record a shadow's answer; the active version and decision go first."""
        self.counter(declared.SHADOW_IMAGES, model, *versions, *decisions).inc()
        self.histogram(declared.SHADOW_DIFFERENCE, model, *versions).observe(difference)

    def shadow_dropped(self, model: str, shadow: str, reason: str) -> None:
        """Record that a shadow did not answer."""
        self.counter(declared.SHADOW_DROPPED, model, shadow, reason).inc()


class _GaugeCollector(Collector):
    def __init__(
        self, gauges: Sequence[Metric], read_gauges: Callable[[], Iterable[GaugeValues]]
    ) -> None:
        self._gauges = gauges
        self._read_gauges = read_gauges

    def describe(self) -> list[GaugeMetricFamily]:
        """Return names only: the application may not be complete."""
        return [_family((metric, ())) for metric in self._gauges]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the application."""
        return map(_family, self._read_gauges())


def _gauges_of(state: ServiceState, drifts: Sequence[Drift]) -> Iterator[GaugeValues]:
    yield declared.READY, [((), state.is_ready)]
    yield declared.WAITING_FOR_CORE, [((), state.waiting_for_core)]
    yield declared.QUEUE_DEPTH, [((one.model, one.work), one.depth) for one in state.queues]
    yield declared.BUNDLE, [(_labels_of(one), 1) for one in state.bundles]
    yield (
        declared.DECISION_SHARE,
        [
            ((one.model, name), share)
            for one in drifts
            if one.shares is not None
            for name, share in one.shares.items()
        ],
    )
    yield (
        declared.DRIFT_PSI,
        [((one.model,), one.psi) for one in drifts if one.psi is not None],
    )
    yield declared.DRIFT_IMAGES, [((one.model,), one.images) for one in drifts]
    gpus = [state.gpu] if state.gpu is not None else []
    yield declared.GPU_USED, [((str(device),), used) for device, used, _ in gpus]
    yield declared.GPU_TOTAL, [((str(device),), total) for device, _, total in gpus]
    yield declared.WORKERS_MEMORY, [((one.work,), one.resident_bytes) for one in state.workers]
    yield declared.WORKERS_CPU, [((one.work,), one.cpu_s) for one in state.workers]
    yield declared.VERSIONS, [(one, 1) for one in state.versions]


def _family(gauge: GaugeValues) -> GaugeMetricFamily:
    metric, values = gauge
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family


def _labels_of(bundle: ModelRef) -> tuple[str, ...]:
    return (
        bundle.name,
        bundle.version,
        bundle.sha256,
        bundle.engine,
        bundle.provider,
        bundle.precision,
    )


def read_samples(page: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield name, labels and value of every sample on a page."""
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value
