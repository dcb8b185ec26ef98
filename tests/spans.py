"""What is traced: kept in memory, or received as a collector does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import cast

from service.telemetry import tracing


@contextmanager
def recorded_spans() -> Iterator[list[str]]:
    """Trace what is done inside; the list gets every span as text at the end.

    Without the extra tracing it stays empty.
    """
    told: list[str] = []
    if find_spec("opentelemetry.sdk") is None:
        yield told
        return
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from service.telemetry.otlp import build_provider

    exporter = InMemorySpanExporter()
    before = tracing.install(build_provider(SimpleSpanProcessor(exporter), "cxr-test"))
    try:
        yield told
    finally:
        tracing.install(before)
        told += [span.to_json() for span in exporter.get_finished_spans()]


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP on loopback.

    Attributes:
        got: Path and body of every request.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Collecting)
        self.got: list[tuple[str, bytes]] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}"


class _Collecting(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        cast("Collector", self.server).got.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *given: object) -> None:
        """Say nothing."""


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Run a collector."""
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()
