"""Traces by the API of OpenTelemetry, which does nothing until a provider is installed.

Spans carry names, numbers and types of problems, never anything of a patient, a path or a query.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from cxr import __version__
from service.errors import StartupError

Mode: TypeAlias = Literal["off", "otlp"]
ServerSpan: TypeAlias = Span

TRACEPARENT = "traceparent"
"""W3C Trace Context, section 3.2. Its companion, tracestate, is left out: it may hold any text, and
every span would repeat it (section 6.1)."""

NS_PER_S = 1_000_000_000
_PROPAGATOR = TraceContextTextMapPropagator()
_provider: TracerProvider | None = None
_tracer: trace.Tracer = trace.NoOpTracer()
is_on = False
"""Whether spans are recorded."""


def install(provider: TracerProvider | None) -> TracerProvider | None:
    """Record spans with this provider from now on, with none for None; return the former one."""
    global _provider, _tracer, is_on
    tracer = trace.NoOpTracer() if provider is None else provider.get_tracer("cxr", __version__)
    before, _provider, _tracer, is_on = _provider, provider, tracer, provider is not None
    return before


def start_tracing(mode: Mode, service_name: str) -> None:
    """Turn tracing on if it is asked for; ``OTEL_*`` variables say where spans are sent.

    Raises:
        StartupError: The libraries are not installed.
    """
    if mode == "off":
        return
    if find_spec("opentelemetry.sdk") is None:
        raise StartupError("Tracing is on, but not installed. Install the extra tracing.")
    from service.telemetry.otlp import build_otlp_provider

    install(build_otlp_provider(service_name))


def stop_tracing() -> None:
    """Send what was recorded, and record nothing from now on."""
    provider = install(None)
    if provider is not None:
        from service.telemetry.otlp import close

        close(provider)


@contextmanager
def server_span(name: str, headers: Mapping[str, str]) -> Iterator[ServerSpan]:
    """Record a request as part of the trace that its headers name."""
    context = _PROPAGATOR.extract({TRACEPARENT: headers.get(TRACEPARENT, "")})
    with _tracer.start_as_current_span(
        name, context, SpanKind.SERVER, record_exception=False, set_status_on_exception=False
    ) as span:
        yield span


@contextmanager
def span(name: str) -> Iterator[Span]:
    """Record the enclosed work as part of the current trace; of an exception only its type."""
    with _tracer.start_as_current_span(
        name, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except Exception as error:
            fail(current, type(error).__name__)
            raise


def record_span(
    name: str,
    started_s: float,
    ended_s: float,
    error: str | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> None:
    """Record work that is done, in seconds of ``time.perf_counter``."""
    if not is_on:
        return
    offset_ns = time.time_ns() - time.perf_counter_ns()
    done = _tracer.start_span(
        name, attributes=attributes, start_time=offset_ns + int(started_s * NS_PER_S)
    )
    if error is not None:
        fail(done, error)
    done.end(offset_ns + int(ended_s * NS_PER_S))


def finish(span: ServerSpan, name: str, attributes: Mapping[str, Any], problem: str | None) -> None:
    """Complete what a request's span says, with the slug of its problem if it failed."""
    span.update_name(name)
    span.set_attributes(attributes)
    if problem is not None:
        fail(span, problem)


def fail(failed: Span, problem: str) -> None:
    """Mark a span as failed, by the type of the problem."""
    failed.set_status(Status(StatusCode.ERROR))
    failed.set_attribute("error.type", problem)


def trace_id_of(traced: Span) -> str | None:
    """Return a trace's 32 hexadecimal digits; None if nothing is recorded."""
    context = traced.get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else None


def trace_headers() -> dict[str, str]:
    """Return the headers that make a request part of the current trace, none outside one."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    carrier.pop("tracestate", None)
    return carrier
