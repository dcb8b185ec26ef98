"""Traces by OTLP: the SDK of OpenTelemetry, which only this module loads."""

from __future__ import annotations

import threading

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

CLOSE_S = 3.0  # a collector that is away must not hold up the end
UNNAMED = "unknown_service"  # the SDK's name without OTEL_SERVICE_NAME


def build_provider(processor: SpanProcessor, service_name: str) -> TracerProvider:
    """Build a provider; ``OTEL_SERVICE_NAME`` overrides the name."""
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, UNNAMED)).startswith(UNNAMED):
        resource = resource.merge(Resource({SERVICE_NAME: service_name}))
    # Its sampler is OTEL_TRACES_SAMPLER.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider


def build_otlp_provider(service_name: str) -> TracerProvider:
    """Build a provider that sends spans in batches, on a thread."""
    return build_provider(BatchSpanProcessor(OTLPSpanExporter()), service_name)


def close(provider: trace.TracerProvider) -> None:
    """Send what was recorded; the SDK alone would retry for half a minute."""
    if isinstance(provider, TracerProvider):
        closing = threading.Thread(target=provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_S)
