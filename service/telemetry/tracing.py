"""Traces, behind a port: nothing happens and nothing is loaded until tracing is turned on.

Spans carry names, numbers and types of problems, never anything of a patient, a path or a query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import Literal, Protocol, TypeAlias

from service.errors import StartupError

Mode: TypeAlias = Literal["off", "otlp"]
Attribute: TypeAlias = str | int | float | bool

TRACEPARENT = "traceparent"
"""W3C Trace Context, section 3.2. Its companion, tracestate, is left out: it may hold any text, and
would be told by every span (section 6.1)."""


class Span(Protocol):
    """Some work of a trace."""

    @property
    def trace_id(self) -> str | None:
        """32 hexadecimal digits; None if nothing is traced."""

    def name(self, name: str) -> None:
        """Name it anew."""

    def set(self, **attributes: Attribute) -> None:
        """Add attributes; ``__`` in a name stands for a full stop."""

    def fail(self, problem: str) -> None:
        """Mark it as failed, by the problem's slug."""


class Tracer(Protocol):
    """Records spans. Any thread."""

    def server(self, name: str, headers: Mapping[str, str]) -> AbstractContextManager[Span]:
        """Record the answering of a request, as part of the trace its headers name."""

    def span(self, name: str) -> AbstractContextManager[Span]:
        """Record what is done inside, as part of what is being recorded."""

    def record(
        self,
        name: str,
        started_s: float,
        ended_s: float,
        problem: str | None,
        attributes: Mapping[str, Attribute],
    ) -> None:
        """Record what was done before, in seconds of ``time.perf_counter``."""

    def headers(self) -> dict[str, str]:
        """Give the headers that make a request part of the present trace."""

    def close(self) -> None:
        """Send what was recorded."""


class _Nothing:
    """Traces nothing, as its own span."""

    trace_id = None

    def name(self, name: str) -> None:
        pass

    def set(self, **attributes: Attribute) -> None:
        pass

    def fail(self, problem: str) -> None:
        pass

    @contextmanager
    def server(self, name: str, headers: Mapping[str, str]) -> Iterator[Span]:
        yield self

    @contextmanager
    def span(self, name: str) -> Iterator[Span]:
        yield self

    def record(
        self,
        name: str,
        started_s: float,
        ended_s: float,
        problem: str | None,
        attributes: Mapping[str, Attribute],
    ) -> None:
        pass

    def headers(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        pass


NOTHING = _Nothing()
_tracer: Tracer = NOTHING


def install(tracer: Tracer) -> Tracer:
    """Trace with this from now on; gives what was used before."""
    global _tracer
    before, _tracer = _tracer, tracer
    return before


def start_tracing(mode: Mode, service_name: str) -> None:
    """Turn tracing on, if it is asked for.

    Args:
        mode: ``otlp`` sends spans by OTLP over HTTP; ``OTEL_*`` variables say where and how many.
        service_name: Of the spans, unless ``OTEL_SERVICE_NAME`` gives another.

    Raises:
        StartupError: The libraries are not installed.
    """
    if mode == "off":
        return
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise StartupError("Tracing is asked for, but not installed. Install the extra tracing.")
    from service.telemetry.otlp import build_otlp_tracer

    install(build_otlp_tracer(service_name))


def stop_tracing() -> None:
    """Send what was recorded and trace nothing any more."""
    install(NOTHING).close()


def server_span(name: str, headers: Mapping[str, str]) -> AbstractContextManager[Span]:
    """Record the answering of a request; see :class:`Tracer`."""
    return _tracer.server(name, headers)


def span(name: str) -> AbstractContextManager[Span]:
    """Record what is done inside; see :class:`Tracer`."""
    return _tracer.span(name)


def record_span(
    name: str,
    started_s: float,
    ended_s: float,
    problem: str | None = None,
    **attributes: Attribute,
) -> None:
    """Record what was done before; see :class:`Tracer`."""
    if _tracer is not NOTHING:
        _tracer.record(name, started_s, ended_s, problem, attributes)


def trace_headers() -> dict[str, str]:
    """Give the headers that make a request part of the present trace, none if there is none."""
    return _tracer.headers()
