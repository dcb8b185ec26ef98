"""Traces by OpenTelemetry. The only module that loads its libraries."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cxr import __version__
from service.telemetry.tracing import TRACEPARENT, Attribute, Span, Tracer

NS_PER_S = 1_000_000_000
CLOSE_S = 3.0  # a collector that is away must not hold up the end
UNNAMED = "unknown_service"  # what the SDK calls whoever has no OTEL_SERVICE_NAME


class OtelSpan:
    """A span of OpenTelemetry behind our port."""

    def __init__(self, inner: trace.Span) -> None:
        self._inner = inner

    @property
    def trace_id(self) -> str | None:
        """32 hexadecimal digits."""
        return trace.format_trace_id(self._inner.get_span_context().trace_id)

    def name(self, name: str) -> None:
        """Name it anew."""
        self._inner.update_name(name)

    def set(self, **attributes: Attribute) -> None:
        """Add attributes."""
        self._inner.set_attributes(_spelt(attributes))

    def fail(self, problem: str) -> None:
        """Mark it as failed."""
        _fail(self._inner, problem)


class OtelTracer:
    """Records spans with OpenTelemetry.

    Args:
        processor: Gets every span that has ended.
        service_name: Of the spans, unless ``OTEL_SERVICE_NAME`` gives another.
    """

    def __init__(self, processor: SpanProcessor, service_name: str) -> None:
        resource = Resource.create()
        if str(resource.attributes.get(SERVICE_NAME, UNNAMED)).startswith(UNNAMED):
            resource = resource.merge(Resource({SERVICE_NAME: service_name}))
        # Its sampler is OTEL_TRACES_SAMPLER.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("cxr", __version__)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def server(self, name: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """Record the answering of a request."""
        context = self._propagator.extract({TRACEPARENT: headers.get(TRACEPARENT, "")})
        with self._tracer.start_as_current_span(
            name, context, SpanKind.SERVER, record_exception=False, set_status_on_exception=False
        ) as inner:
            yield OtelSpan(inner)

    @contextmanager
    def span(self, name: str) -> Iterator[Span]:
        """Record what is done inside; of an exception its type only."""
        with self._tracer.start_as_current_span(
            name, record_exception=False, set_status_on_exception=False
        ) as inner:
            try:
                yield OtelSpan(inner)
            except Exception as error:
                _fail(inner, type(error).__name__)
                raise

    def record(
        self,
        name: str,
        started_s: float,
        ended_s: float,
        problem: str | None,
        attributes: Mapping[str, Attribute],
    ) -> None:
        """Record what was done before."""
        offset_ns = time.time_ns() - time.perf_counter_ns()
        inner = self._tracer.start_span(
            name, attributes=_spelt(attributes), start_time=offset_ns + int(started_s * NS_PER_S)
        )
        if problem is not None:
            _fail(inner, problem)
        inner.end(offset_ns + int(ended_s * NS_PER_S))

    def headers(self) -> dict[str, str]:
        """Give the headers that make a request part of the present trace."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier

    def close(self) -> None:
        """Send what was recorded, if that does not take long."""
        # The SDK tries on for half a minute.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_S)


def _fail(inner: trace.Span, problem: str) -> None:
    inner.set_status(Status(StatusCode.ERROR))
    inner.set_attribute("error.type", problem)


def _spelt(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {name.replace("__", "."): value for name, value in attributes.items()}


def build_otlp_tracer(service_name: str) -> Tracer:
    """Give what sends spans by OTLP over HTTP, a batch at a time, on a thread of its own."""
    return OtelTracer(BatchSpanProcessor(OTLPSpanExporter()), service_name)
