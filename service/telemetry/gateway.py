"""The gateway's metrics, declared and recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from service.telemetry.metrics import Metric, metrics_in
from service.telemetry.prometheus import GaugeValues, MetricsPage
from service.telemetry.timeline import Timeline

_HTTP_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_JOB_S = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0)

REQUESTS = Metric(
    "cxr_gateway_requests_total",
    "counter",
    "HTTP requests answered, by route and status.",
    ("route", "status"),
)
REQUEST_SECONDS = Metric(
    "cxr_gateway_request_duration_seconds",
    "histogram",
    "Time from the head of an HTTP request to the end of its answer.",
    ("route",),
    _HTTP_S,
)
REQUEST_PROBLEMS = Metric(
    "cxr_gateway_request_problems_total",
    "counter",
    "HTTP requests refused or failed, by problem type.",
    ("problem",),
)
CONNECTIONS = Metric(
    "cxr_gateway_dimse_connections_total",
    "counter",
    "Connections to the DIMSE port, by what became of them: `accepted`, `rejected` (not let in, or "
    "too many associations), and closed before they had asked for an association: `late`, "
    "`crowded` (too many waited), `malformed`, `no-tls`.",
    ("outcome",),
)
OBJECTS = Metric(
    "cxr_gateway_objects_total",
    "counter",
    "Objects that came, by channel (`dimse`, `stow`, `wado`) and outcome: `stored`, `known` (a "
    "repeat), `ignored` (not analysed, or our own), `refused`.",
    ("channel", "outcome"),
)
UID_COLLISIONS = Metric(
    "cxr_gateway_uid_collisions_total",
    "counter",
    "Objects that came with the SOP Instance UID of another and other content, by whether their "
    "`pixels` are the `same`, `other`, or `unknown` because the bytes of the first are gone.",
    ("pixels",),
)
ANALYSES = Metric(
    "cxr_gateway_analyses_total",
    "counter",
    "Tries of an analysis, by outcome: `analysed`, `reported` (a report that it was not), "
    "`retried`, `dead`.",
    ("outcome",),
)
DELIVERIES = Metric(
    "cxr_gateway_deliveries_total",
    "counter",
    "Tries of a delivery, by destination and outcome: `delivered`, `retried`, `dead`.",
    ("destination", "outcome"),
)
JOB_SECONDS = Metric(
    "cxr_gateway_job_duration_seconds",
    "histogram",
    "Time from the arrival of an object to the last delivery of its results.",
    (),
    _JOB_S,
)
JOBS = Metric("cxr_gateway_jobs", "gauge", "Jobs by state, of all gateways together.", ("state",))
OLDEST_JOB = Metric(
    "cxr_gateway_oldest_job_seconds",
    "gauge",
    "Age of the oldest job that is not finished; 0 if there is none.",
)
SPOOL_FREE = Metric(
    "cxr_gateway_spool_free_bytes", "gauge", "Free bytes of the disk the spool lies on."
)
SPOOL_IS_OPEN = Metric(
    "cxr_gateway_accepting", "gauge", "1 if objects are accepted, 0 while the disk is too full."
)
STRAYS = Metric(
    "cxr_gateway_strays_total",
    "counter",
    "Files of the spool that no job had, by outcome: `removed` (left by a crash), `adopted` (taken "
    "up again: the database has lost their jobs, or a crash came before there was one), "
    "`quarantined` (no whole object).",
    ("outcome",),
)
QUARANTINED = Metric(
    "cxr_gateway_quarantined_files",
    "gauge",
    "Files put aside in the spool's folder `quarantine`, for an operator.",
)
STATE_AGE = Metric(
    "cxr_gateway_state_age_seconds",
    "gauge",
    "Age of the gauges before; it grows while the database or the disk does not tell.",
)

GATEWAY_METRICS = metrics_in(globals())
"""All of them, in the order of the documentation."""


@dataclass(frozen=True)
class GatewayState:
    """What is read of a gateway for its health and metrics.

    Attributes:
        oldest_s: Age of the oldest unfinished job.
        quarantined: Files put aside.
        age_s: Age of these values.
    """

    jobs: Mapping[str, int] = field(default_factory=dict)
    oldest_s: float = 0.0
    free_bytes: int = 0
    is_accepting: bool = True
    quarantined: int = 0
    age_s: float = 0.0


class GatewayMetrics(MetricsPage):
    """Counts and measures of a gateway. Any thread may record."""

    def __init__(self, read_state: Callable[[], GatewayState] = GatewayState) -> None:
        super().__init__(GATEWAY_METRICS, lambda: _gauges_of(read_state()))

    def request_ended(
        self, route: str, status: int, timeline: Timeline, slug_of: Callable[[Exception], str]
    ) -> None:
        """Record an HTTP request."""
        self._counters[REQUESTS].labels(route, str(status)).inc()
        self._histograms[REQUEST_SECONDS].labels(route).observe(timeline.total_s)
        if timeline.problem is not None:
            self._counters[REQUEST_PROBLEMS].labels(timeline.problem).inc()

    def connection_judged(self, outcome: str) -> None:
        """Record a connection to the DIMSE port."""
        self._counters[CONNECTIONS].labels(outcome).inc()

    def object_taken(self, channel: str, outcome: str) -> None:
        """Record an object."""
        self._counters[OBJECTS].labels(channel, outcome).inc()

    def uid_came_again(self, pixels: str) -> None:
        """Record another object of a known UID."""
        self._counters[UID_COLLISIONS].labels(pixels).inc()

    def analysis_ended(self, outcome: str) -> None:
        """Record a try of an analysis."""
        self._counters[ANALYSES].labels(outcome).inc()

    def delivery_ended(self, destination: str, outcome: str) -> None:
        """Record a try of a delivery."""
        self._counters[DELIVERIES].labels(destination, outcome).inc()

    def stray_settled(self, outcome: str) -> None:
        """Record a file without a job."""
        self._counters[STRAYS].labels(outcome).inc()

    def job_done(self, duration_s: float) -> None:
        """Record a job whose results have all arrived."""
        self._histograms[JOB_SECONDS].observe(duration_s)


def _gauges_of(state: GatewayState) -> Iterator[GaugeValues]:
    yield JOBS, [((name,), count) for name, count in state.jobs.items()]
    yield OLDEST_JOB, [((), state.oldest_s)]
    yield SPOOL_FREE, [((), state.free_bytes)]
    yield SPOOL_IS_OPEN, [((), state.is_accepting)]
    yield QUARANTINED, [((), state.quarantined)]
    yield STATE_AGE, [((), state.age_s)]
