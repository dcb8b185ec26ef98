"""Traces from client to gateway to service, and what no span may tell."""

from __future__ import annotations

import asyncio
import io
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

pytest.importorskip("opentelemetry.sdk", reason="the extra tracing is not installed")

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette

from service.app.application import build_app
from service.client import Client, ServiceError
from service.errors import StartupError
from service.gateway.http.application import gateway_rules
from service.gateway.work.analysis import Analysis
from service.models.runtime import Runtime
from service.telemetry import tracing
from service.telemetry.gateway import GatewayMetrics
from service.telemetry.otlp import build_provider
from service.web.requests import RequestMiddleware
from tests.canaries import found_in, planted
from tests.conftest import REPOSITORY
from tests.service.conftest import make_settings
from tests.service.fake_engine import FakeEngine
from tests.service.fake_explainer import FakeExplainer
from tests.service.harness import Running, running
from tests.service.make_images import make_dicom, make_png
from tests.service.test_telemetry import lines, log
from tests.spans import running_collector

__all__ = ["log"]  # the fixture

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("waits")]

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    """Keeps every span of this process."""
    kept = InMemorySpanExporter()
    before = tracing.install(build_provider(SimpleSpanProcessor(kept), "cxr-test"))
    yield kept
    tracing.install(before)


@pytest.fixture
async def explaining(bundles: Path, engine: FakeEngine) -> AsyncIterator[Running]:
    """The application with an explainer."""
    async with running(make_settings(bundles), engine.build, FakeExplainer().build) as ready:
        yield ready


def named(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """Give the spans by name."""
    return {span.name: span for span in exporter.get_finished_spans()}


def parent_of(span: ReadableSpan) -> int:
    """Give the id of a span's parent, 0 for none."""
    return span.parent.span_id if span.parent is not None else 0


def id_of(span: ReadableSpan) -> int:
    """Give a span's id."""
    assert span.context is not None
    return span.context.span_id


@pytest.mark.parametrize("on_cores", [False, True])
async def test_request_is_a_span_with_its_stages(
    bundles: Path, exporter: InMemorySpanExporter, log: io.StringIO, on_cores: bool
) -> None:
    """Part of the client's trace; the stages lie within and after each other."""
    engine = FakeEngine(runs_on_cores=on_cores)
    async with running(make_settings(bundles), engine.build, FakeExplainer().build) as service:
        answer = await service.client.post("/v1/explain", content=make_png(), headers=GIVEN)
    assert answer.status_code == 200
    spans = named(exporter)
    request = spans["POST /v1/explain"]
    assert set(spans) == {"POST /v1/explain", "queue", "decode", "infer", "explain"}
    assert {f"{span.context.trace_id:032x}" for span in spans.values() if span.context} == {TRACE}
    assert f"{parent_of(request):016x}" == PARENT
    assert request.attributes is not None
    assert request.attributes["http.route"] == "/v1/explain"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["cxr.model"] == "resnet18"
    for name in ("queue", "decode", "infer", "explain"):
        assert parent_of(spans[name]) == id_of(request)
        start, end = spans[name].start_time, spans[name].end_time
        assert start is not None
        assert end is not None
        assert request.start_time is not None
        assert request.end_time is not None
        slack_ns = 5_000_000  # of two clocks
        assert request.start_time - slack_ns <= start <= end <= request.end_time + slack_ns
    infer = spans["infer"]
    assert infer.attributes is not None
    assert infer.attributes["cxr.batch_size"] == 1
    [line] = [line for line in lines(log) if line["event"] == "request"]
    assert line["trace_id"] == TRACE


async def test_failures_are_marked(
    service: Running, engine: FakeEngine, exporter: InMemorySpanExporter
) -> None:
    """By the problem's slug, at the stage and, if it is ours, at the request."""
    await service.client.post("/v1/predict", content=make_png()[:-60])
    spans = named(exporter)
    assert not spans["decode"].status.is_ok
    assert spans["POST /v1/predict"].status.is_unset
    exporter.clear()
    engine.fails = True
    await service.client.post("/v1/predict", content=make_png())
    request = named(exporter)["POST /v1/predict"]
    assert request.attributes is not None
    assert request.attributes["error.type"] == "inference-failed"
    assert not request.events


def test_exceptions_are_told_by_type(exporter: InMemorySpanExporter) -> None:
    """Their text may quote what they were given."""
    with pytest.raises(ValueError, match="Jane"), tracing.span("work"):
        int("Jane")
    [span] = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["error.type"] == "ValueError"
    assert "Jane" not in span.to_json()


async def test_probes_are_not_traced(service: Running, exporter: InMemorySpanExporter) -> None:
    """They come every few seconds."""
    for path in ("/health", "/health/live", "/health/ready", "/metrics"):
        await service.client.get(path)
    assert not exporter.get_finished_spans()


async def test_no_span_tells_of_a_patient(
    explaining: Running, exporter: InMemorySpanExporter
) -> None:
    """Not by name, attribute, status or event, whatever is sent and where."""
    client, file = explaining.client, planted(make_dicom(170))
    for path in ("/v1/predict", "/v1/explain", "/v1/render", "/patients/Jane", "/v1/models/Jane"):
        await client.post(f"{path}?model=Jane", content=file)
        await client.post(path, content=file, headers={"tracestate": "jane=z4711", **GIVEN})
        await client.post(path, content=file[:-500])
    await client.request("JANE", "/v1/predict")
    spans = exporter.get_finished_spans()
    told = "".join(span.to_json() for span in spans)
    assert len(spans) > 20
    assert not found_in(told)
    assert "jane" not in told.lower()
    assert "z4711" not in told  # digits alone may occur in random ids


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an application of this process on loopback; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            deadline_s = time.monotonic() + 30
            while not httpx.get(f"{address}/health/ready").is_success:
                assert time.monotonic() < deadline_s
                time.sleep(0.02)
            yield address
        finally:
            server.should_exit = True
            thread.join(30)


def test_gateway_and_service_share_a_trace(
    bundles: Path, engine: FakeEngine, exporter: InMemorySpanExporter
) -> None:
    """An analysis is one trace, from the gateway's question to the engine's run."""
    runtime = Runtime(make_settings(bundles), engine.build, FakeExplainer().build)
    with serving(build_app(runtime)) as address:
        analysis = Analysis(address, 30)
        assert isinstance(analysis.analyse(make_dicom()), list)
        analysis.close()
    spans = named(exporter)
    assert parent_of(spans["analyse"]) == 0
    assert parent_of(spans["POST /v1/explain"]) == id_of(spans["analyse"])
    assert parent_of(spans["infer"]) == id_of(spans["POST /v1/explain"])
    assert len({span.context.trace_id for span in spans.values() if span.context}) == 1


async def test_gateway_takes_part_in_its_senders_trace(
    exporter: InMemorySpanExporter, log: io.StringIO
) -> None:
    """A request to it is a span of the trace its headers name; so say its lines."""
    app = RequestMiddleware(Starlette(), gateway_rules(GatewayMetrics()))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        await client.post("/dicomweb/studies/1.2.3", content=b"x", headers=GIVEN)
    [span] = exporter.get_finished_spans()
    assert (span.name, f"{parent_of(span):016x}") == ("POST other", PARENT)
    [line] = lines(log)
    assert (line["trace_id"], line["route"], line["body_bytes"]) == (TRACE, "other", 0)


@pytest.mark.parametrize("given", [True, False])
def test_client_passes_the_trace_on(exporter: InMemorySpanExporter, given: bool) -> None:
    """The one it is given, else the present one; none outside of any."""
    seen: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(404)

    options: dict[str, Any] = {"trace_headers": lambda: GIVEN} if given else {}
    transport = httpx.MockTransport(answer)
    with Client("http://test", transport=transport, **options) as client:
        for inside in (True, False):
            with tracing.span("work") if inside else nullcontext(), \
                 pytest.raises(ServiceError):  # fmt: skip
                client.predict(make_png())
    if given:
        assert [one["traceparent"] for one in seen] == [GIVEN["traceparent"]] * 2
        return
    [span] = exporter.get_finished_spans()
    assert f"{id_of(span):016x}" in seen[0]["traceparent"]
    assert "traceparent" not in seen[1]


def test_traces_are_sent_only_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Off by default, and then nothing of it is loaded; without its libraries it says so."""
    look = (
        "import sys, service.app.server, service.gateway.server, service.client\n"
        "from service.settings import Settings\n"
        "from service.telemetry.tracing import start_tracing\n"
        "start_tracing(Settings().tracing, 'x')\n"
        "print([m for m in sys.modules if m.startswith(('opentelemetry.sdk', "
        "'opentelemetry.exporter'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", look], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    monkeypatch.setattr(tracing, "find_spec", lambda name: None)
    with pytest.raises(StartupError, match="extra tracing"):
        tracing.start_tracing("otlp", "x")


def test_collector_is_sent_what_was_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By OTLP over HTTP where OTEL_* says; a collector that is away holds up little."""
    with running_collector() as collector:
        for endpoint in (collector.url, "http://127.0.0.1:9"):
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
            tracing.start_tracing("otlp", "cxr-test")
            with tracing.span("a-span-of-ours"):
                pass
            begun_s = time.monotonic()
            tracing.stop_tracing()
            assert time.monotonic() - begun_s < 6
    [(path, body)] = collector.got
    assert path == "/v1/traces"
    assert b"a-span-of-ours" in body
    assert b"cxr-test" in body


async def test_requests_side_by_side_are_told_apart(
    service: Running, exporter: InMemorySpanExporter
) -> None:
    """Each stage belongs to its own request."""
    await asyncio.gather(
        *(service.client.post("/v1/predict", content=make_png()) for _ in range(4))
    )
    spans = exporter.get_finished_spans()
    requests = {id_of(span) for span in spans if span.name == "POST /v1/predict"}
    assert len(requests) == 4
    for name in ("decode", "infer"):
        assert {parent_of(span) for span in spans if span.name == name} == requests
