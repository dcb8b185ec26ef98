"""One canonical line per request, its id in every line, and the page that describes them."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.gateway.errors import UnknownJobError
from service.gateway.http.application import gateway_rules
from service.telemetry.gateway import GatewayMetrics
from service.telemetry.log_fields import LOG_FIELDS, log_fields_table
from service.web.requests import RequestMiddleware
from tests.conftest import REPOSITORY
from tests.service.fake_engine import FakeEngine
from tests.service.harness import Running
from tests.service.make_images import make_dicom, make_png
from tests.service.test_telemetry import lines, log

__all__ = ["log"]  # the fixture

pytestmark = pytest.mark.anyio

ALWAYS = {
    "time", "level", "event", "request_id", "method", "route", "status", "outcome", "body_bytes",
    "timings_ms",
}  # fmt: skip


def requests_of(log: io.StringIO) -> list[dict[str, object]]:
    """Give the canonical lines."""
    return [line for line in lines(log) if line["event"] == "request"]


async def test_canonical_line_of_an_answer(service: Running, log: io.StringIO) -> None:
    """What was asked, what became of it, and where the time went."""
    files = [("files", ("a", make_png(200))), ("files", ("b", make_png()[:-60]))]
    answer = await service.client.post("/v1/predict", files=files)
    [line] = requests_of(log)
    assert line["request_id"] == answer.json()["request_id"] == answer.headers["x-request-id"]
    assert (line["outcome"], line["status"]) == ("ok", 200)
    assert (line["model"], line["model_version"], line["images"]) == ("resnet18", "1.0.0", 2)
    assert (line["decisions"], line["out_of_scope"]) == ({"positive": 1}, 0)
    assert (line["problems"], line["batch_size"]) == (["unreadable-image"], 1)
    assert isinstance(line["body_bytes"], int)
    assert line["body_bytes"] > 2 * len(make_png()) - 100
    timings = line["timings_ms"]
    assert isinstance(timings, dict)
    assert list(timings) == ["recv", "decode", "queue", "infer", "total"]
    assert all(spent_ms > 0 for spent_ms in timings.values())


@pytest.mark.parametrize(
    ("path", "content", "status", "outcome"),
    [
        ("/v1/predict", make_png()[:-60], 422, "unreadable-image"),
        ("/v1/predict", b"Jane", 415, "unsupported-media"),
        ("/v1/predict?model=Jane", b"", 404, "unknown-model"),
        ("/v1/predict?Jane=1", b"", 400, "invalid-request"),
        ("/v1/explain", make_png(), 501, "explain-disabled"),
        ("/v2/models/resnet18/infer", b"Jane", 400, "invalid-request"),
        ("/patients/Jane", b"", 404, "not-found"),
    ],
)
async def test_errors_tell_their_outcome(
    service: Running, log: io.StringIO, path: str, content: bytes, status: int, outcome: str
) -> None:
    """In the line, with the id that the answer has, and timings in the answer's head."""
    answer = await service.client.post(path, content=content)
    [line] = requests_of(log)
    assert (answer.status_code, line["status"], line["outcome"]) == (status, status, outcome)
    assert line["request_id"] == answer.headers["x-request-id"]
    if not path.startswith("/v2"):
        assert answer.json()["request_id"] == line["request_id"]
    stages = dict(one.split(";dur=") for one in answer.headers["server-timing"].split(", "))
    assert stages.keys() == {"recv", "decode", "queue", "infer", "total"}
    assert float(stages["total"]) > 0
    assert (float(stages["decode"]) > 0) == (outcome == "unreadable-image")


async def test_every_line_of_a_request_has_its_id(
    service: Running, engine: FakeEngine, log: io.StringIO
) -> None:
    """Also those written on other threads, and those of several requests at once."""
    engine.fails = True
    ids = [f"id-{number}" for number in range(3)]
    await asyncio.gather(
        *(
            service.client.post("/v1/predict", content=make_png(), headers={"X-Request-ID": one})
            for one in ids
        )
    )
    failed = [line for line in lines(log) if line["event"] == "batch failed"]
    assert sorted(one for line in failed for one in line["request_ids"]) == ids
    log.truncate(0)
    log.seek(0)
    engine.fails = False
    context_free = logging.getLogger("some.library")
    context_free.setLevel(logging.WARNING)

    def on_a_core() -> None:
        context_free.warning("odd")

    async def route(request: Request) -> Response:
        await asyncio.wrap_future(service.runtime.pool.submit(on_a_core))
        return Response()

    service.app.router.routes.insert(0, Route("/odd", route))
    await service.client.get("/odd", headers={"X-Request-ID": "abc"})
    odd = [line for line in lines(log) if line["event"] == "odd"]
    assert [line["request_id"] for line in odd] == ["abc"]
    context_free.warning("odd")
    assert "request_id" not in lines(log)[-1]


async def test_gateway_writes_the_same_kind_of_line(log: io.StringIO) -> None:
    """With the id in line and head, and the timings in both, on answers and errors."""

    async def stored(request: Request) -> Response:
        await request.body()
        return Response()

    async def missing(request: Request) -> Response:
        return rules.refuse(request.scope, UnknownJobError("No such job."))

    async def broken(request: Request) -> Response:
        raise RuntimeError("Jane")

    metrics = GatewayMetrics()
    rules = gateway_rules(metrics)
    inner = Starlette(
        routes=[
            Route("/stored/{uid}", stored, methods=["POST"]),
            Route("/missing", missing),
            Route("/broken", broken),
        ]
    )
    inner.router.redirect_slashes = False
    app = RequestMiddleware(inner.router, rules)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test", headers={"X-Request-ID": "abc"}
    ) as client:
        answers = [
            await client.post("/stored/1.2.3", content=b"x" * 10),
            await client.get("/missing"),
            await client.get("/broken"),
        ]
    outcomes = [line["outcome"] for line in requests_of(log)]
    assert outcomes == ["ok", "unknown-job", "internal"]
    assert [line["body_bytes"] for line in requests_of(log)] == [10, 0, 0]
    assert all(line["request_id"] == "abc" for line in lines(log))
    for answer in answers:
        assert answer.headers["x-request-id"] == "abc"
        assert answer.headers["server-timing"].startswith("recv;dur=")
        assert "total;dur=" in answer.headers["server-timing"]
    assert "Jane" not in log.getvalue()
    assert "1.2.3" not in log.getvalue()
    page = metrics.render().decode()
    assert 'cxr_gateway_request_problems_total{problem="unknown-job"} 1.0' in page
    assert 'problem="ok"' not in page


async def test_methods_are_words_of_ours(service: Running, log: io.StringIO) -> None:
    """A method may be any text, a name for instance."""
    await service.client.request("JANEZ4711", "/v1/predict")
    assert [line["method"] for line in requests_of(log)] == ["_OTHER"]


async def test_members_are_those_described(service: Running, log: io.StringIO) -> None:
    """Every canonical line has the members it must have, and none that the page does not name."""
    for content in (make_png(), make_dicom(), make_png()[:-60], b"Jane"):
        await service.client.post("/v1/predict", content=content)
    await service.client.get("/v1/models")
    declared = {one.name for one in LOG_FIELDS}
    for line in requests_of(log):
        assert line.keys() >= ALWAYS
        assert line.keys() <= declared
    assert log_fields_table() in (REPOSITORY / "docs" / "observability.md").read_text()


async def test_lines_are_json_whatever_is_in_them(service: Running, log: io.StringIO) -> None:
    """Numbers, words and nothing: every line can be read back by itself."""
    await service.client.post("/v1/predict", content=make_png())
    for line in log.getvalue().splitlines():
        assert json.loads(line)["time"].endswith("+00:00")
