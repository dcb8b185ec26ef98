"""Every row of the error table, over HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.deadline import Deadline
from service.gateway.http.application import gateway_rules
from service.gateway.http.problems import GATEWAY_PROBLEM_TYPES
from service.gateway.settings import GatewaySettings
from service.images import preparation
from service.settings import Settings
from service.telemetry.gateway import GatewayMetrics
from service.telemetry.timeline import Timeline
from service.web.problems import ALL_PROBLEM_TYPES, MEDIA_TYPE, PROBLEM_TYPES, problem_type_of
from service.web.requests import SCOPE_KEY, RequestContext
from tests.service.conftest import make_settings
from tests.service.fake_engine import POISON, FakeEngine
from tests.service.harness import Running, load_of, running, until
from tests.service.make_images import make_dicom, make_flat_png, make_jpeg, make_png, make_png_bomb

pytestmark = pytest.mark.anyio

PREDICT = "/v1/predict"
DOCUMENT = Path(__file__).parents[2] / "docs" / "problems.md"


def verify_problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """Check that a response is a whole problem of that kind, and give it."""
    problem: dict[str, Any] = response.json()
    assert (response.status_code, problem["type"]) == (status, f"/docs/problems#{slug}")
    assert problem["status"] == status
    assert response.headers["content-type"] == MEDIA_TYPE
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["title"]
    assert problem["detail"].endswith((".", "}."))
    return problem


def make_json(*data: str, **members: Any) -> dict[str, Any]:
    """Make the arguments of a JSON request."""
    return {"json": {"images": [{"data": one} for one in data], **members}}


ENCODED = base64.b64encode(make_png()).decode()
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}
CUT_MULTIPART = b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\nabc'
CUT_SECOND = CUT_MULTIPART + b"\r\n" + CUT_MULTIPART
PART = b'--x\r\nContent-Disposition: form-data; name="files"\r\n'
MANY_HEADERS = PART + b"a: b\r\n" * 50 + b"\r\nabc\r\n--x--\r\n"
LONG_HEADER = PART + b"a: " + b"b" * 10_000 + b"\r\n\r\nabc\r\n--x--\r\n"
JSON_TYPE = {"Content-Type": "application/json"}

TABLE = {
    "empty body": ({"content": b""}, 400, "invalid-request"),
    "not json": ({"content": b"{", "headers": JSON_TYPE}, 400, "invalid-request"),
    "empty json": ({"content": b"", "headers": JSON_TYPE}, 400, "invalid-request"),
    "deep json": ({"content": b"[" * 9999, "headers": JSON_TYPE}, 400, "invalid-request"),
    "no images": (make_json(), 400, "invalid-request"),
    "unknown member": (make_json(ENCODED, extra=1), 400, "invalid-request"),
    "id not a string": (
        {"json": {"images": [{"id": 1, "data": ENCODED}]}},
        400,
        "invalid-request",
    ),
    "same id twice": (
        {"json": {"images": [{"id": "a", "data": ENCODED}, {"id": "a", "data": ENCODED}]}},
        400,
        "invalid-request",
    ),
    "base64 alphabet": (make_json("***"), 400, "invalid-request"),
    "base64 line breaks": (make_json(ENCODED[:40] + "\n" + ENCODED[40:]), 400, "invalid-request"),
    "base64 padding": (make_json(ENCODED + "A"), 400, "invalid-request"),
    "data url": (make_json("data:image/png;base64," + ENCODED), 400, "invalid-request"),
    "field in a form": ({"files": {"model": (None, "cnn")}}, 400, "invalid-request"),
    "no boundary": (
        {"content": b"abc", "headers": {"Content-Type": "multipart/form-data"}},
        400,
        "invalid-request",
    ),
    "cut multipart": ({"content": CUT_MULTIPART, "headers": MULTIPART}, 400, "invalid-request"),
    "cut second part": ({"content": CUT_SECOND, "headers": MULTIPART}, 400, "invalid-request"),
    "no last boundary": (
        {"content": CUT_MULTIPART + b"\r\n--x", "headers": MULTIPART},
        400,
        "invalid-request",
    ),
    "empty multipart": ({"content": b"--x--\r\n", "headers": MULTIPART}, 400, "invalid-request"),
    "many part headers": ({"content": MANY_HEADERS, "headers": MULTIPART}, 400, "invalid-request"),
    "long part header": ({"content": LONG_HEADER, "headers": MULTIPART}, 400, "invalid-request"),
    "unknown operating point": (
        {"content": make_png(), "params": {"operating_point": "zz"}},
        400,
        "invalid-request",
    ),
    "unknown parameter": (
        {"content": make_png(), "params": {"operating-point": "balanced"}},
        400,
        "invalid-request",
    ),
    "empty parameter": ({"content": make_png(), "params": {"model": ""}}, 400, "invalid-request"),
    "parameter twice": (
        {"content": make_png(), "params": {"model": ["cnn", "resnet18"]}},
        400,
        "invalid-request",
    ),
    "query too long": (
        {"content": make_png(), "params": {"model": "m" * 129}},
        400,
        "invalid-request",
    ),
    "unknown model": ({"content": make_png(), "params": {"model": "zz"}}, 404, "unknown-model"),
    "body too large": ({"content": bytes(1_000_001)}, 413, "payload-too-large"),
    "too many parts": (
        {"files": [("files", make_png())] * 7},
        413,
        "payload-too-large",
    ),
    "too many in json": (make_json(*[ENCODED] * 7), 413, "payload-too-large"),
    "png bomb": ({"content": make_png_bomb()}, 413, "payload-too-large"),
    "dicom bomb": (
        {"content": make_dicom(Rows=65535, Columns=65535)},
        413,
        "payload-too-large",
    ),
    "html": (
        {"content": b"<html></html>" * 20, "headers": {"Content-Type": "text/html"}},
        415,
        "unsupported-media",
    ),
    "lie about the type": (
        {"content": b"GIF89a", "headers": {"Content-Type": "image/png"}},
        415,
        "unsupported-media",
    ),
    "compressed body": (
        {"content": make_png(), "headers": {"Content-Encoding": "gzip"}},
        415,
        "unsupported-media",
    ),
    "cut jpeg": ({"content": make_jpeg()[:-200]}, 422, "unreadable-image"),
    "cut png": ({"content": make_png()[:-40]}, 422, "unreadable-image"),
    "cut dicom": ({"content": make_dicom()[:-500]}, 422, "unreadable-image"),
    "dicom without pixels": ({"content": make_dicom(PixelData=None)}, 422, "unsupported-dicom"),
    "dicom of two frames": ({"content": make_dicom(NumberOfFrames=2)}, 422, "unsupported-dicom"),
    "thumbnail": ({"content": make_png(width=40, height=40)}, 422, "image-out-of-scope"),
}


@pytest.mark.parametrize(("request_", "status", "slug"), TABLE.values(), ids=TABLE)
async def test_bad_request_gets_its_problem(
    service: Running, engine: FakeEngine, request_: dict[str, Any], status: int, slug: str
) -> None:
    """What is wrong with a request is told by status, type and detail, and nothing is run."""
    response = await service.client.post(PREDICT, **request_)
    verify_problem(response, status, slug)
    assert engine.batches == []
    assert service.runtime.lifecycle.active_requests == 0


async def test_unknown_operating_point_names_the_valid_ones(service: Running) -> None:
    """An integrator learns from the answer what to send."""
    response = await service.client.post(PREDICT, params={"operating_point": "zz"}, content=b"x")
    assert "balanced, rule-out" in response.json()["detail"]


@pytest.mark.parametrize("explain", [b"", make_png()], ids=["empty", "image"])
async def test_explain_is_disabled(service: Running, explain: bytes) -> None:
    """No explanations are served, whatever is sent."""
    verify_problem(
        await service.client.post("/v1/explain", content=explain), 501, "explain-disabled"
    )


async def test_unknown_path_and_method(service: Running) -> None:
    """The router's own errors are problems too, and 405 names the methods."""
    verify_problem(await service.client.get("/nothing"), 404, "not-found")
    response = await service.client.get(PREDICT)
    verify_problem(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "OPTIONS, POST"


async def test_full_queue_refuses_the_whole_request(service: Running, engine: FakeEngine) -> None:
    """A request that does not fit as a whole gets 429 and leaves nothing in the queue."""
    engine.gate.clear()
    client, load = service.client, load_of(service)
    first = asyncio.create_task(client.post(PREDICT, content=make_png()))
    await until(lambda: engine.entered.acquire(blocking=False))
    waiting = asyncio.create_task(client.post(PREDICT, files=[("files", make_png())] * 6))
    await until(lambda: load.images == 7)
    refused = await client.post(PREDICT, files=[("files", make_png())] * 6)
    assert load.images == 7
    verify_problem(refused, 429, "queue-full")
    assert int(refused.headers["retry-after"]) >= 1
    engine.gate.set()
    assert [(await one).status_code for one in (first, waiting)] == [200, 200]


async def test_bodies_in_memory_are_bounded(service: Running) -> None:
    """A body that does not fit beside those being received is refused with 429."""
    service.app.state.body_budget.free_bytes -= 1_999_990
    response = await service.client.post(PREDICT, content=make_png())
    verify_problem(response, 429, "queue-full")


async def test_failing_engine_is_inference_failed(service: Running, engine: FakeEngine) -> None:
    """An engine's exception reaches the client as 500 without a word of its text."""
    engine.fails = True
    response = await service.client.post(PREDICT, content=make_png())
    verify_problem(response, 500, "inference-failed")
    assert "secret" not in response.text


async def test_request_whose_images_all_failed_here_is_a_failure(
    service: Running, engine: FakeEngine
) -> None:
    """A 200 must not hide that the service failed every image."""
    engine.fails = True
    response = await service.client.post(PREDICT, files=[("files", make_png())] * 3)
    verify_problem(response, 500, "inference-failed")


async def test_nan_fails_its_image_alone(service: Running, engine: FakeEngine) -> None:
    """An image the model has no finite answer for does not hurt its neighbours."""
    engine.poisoned = True
    files = [make_png(), make_flat_png(POISON), make_png(POISON)]
    response = await service.client.post(PREDICT, files=[("files", file) for file in files])
    results = response.json()["results"]
    assert [result["status"] for result in results] == ["ok", "error", "ok"]
    assert results[1]["problem"]["type"].endswith("#inference-failed")


async def test_unforeseen_error_says_nothing_of_itself(
    service: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug answers 500 with a generic detail; the log has its place but not its text."""
    monkeypatch.setattr(load_of(service), "verify_room", lambda *_: 1 / int("0"))
    with caplog.at_level(logging.INFO):
        response = await service.client.post(PREDICT, content=make_png())
    verify_problem(response, 500, "internal")
    assert "zero" not in response.text
    assert any(record.getMessage() == "unexpected error" for record in caplog.records)


async def test_bug_in_a_decoder_fails_its_image_alone(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen exception while decoding is an internal problem of that image only."""
    decode = preparation.decode_image

    def broken(data: bytes, options: Any) -> Any:
        if data == b"boom":
            raise ZeroDivisionError("Doe^Jane")
        return decode(data, options)

    monkeypatch.setattr(preparation, "decode_image", broken)
    response = await service.client.post(PREDICT, files=[("files", b"boom"), ("files", make_png())])
    results = response.json()["results"]
    assert results[0]["problem"]["type"].endswith("#internal")
    assert results[1]["status"] == "ok"
    assert "Jane" not in response.text


async def test_not_ready_while_starting_and_draining(settings: Any, engine: FakeEngine) -> None:
    """Predictions and readiness are refused with Retry-After; liveness stays true."""
    engine.gate.clear()  # holds up the warm-up
    async with running(settings, engine.build, wait=False) as starting:
        client = starting.client
        for path, send in (("/health/ready", client.get), (PREDICT, client.post)):
            response = await send(path)
            verify_problem(response, 503, "not-ready")
            assert int(response.headers["retry-after"]) >= 1
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/v1/models")).status_code == 503
        assert (await client.get("/health")).json()["status"] == "starting"
        engine.gate.set()
        await until(lambda: starting.runtime.lifecycle.is_ready)
        starting.runtime.lifecycle.drain()
        verify_problem(await client.post(PREDICT, content=make_png()), 503, "not-ready")
        verify_problem(await client.get("/health/ready"), 503, "not-ready")
        assert (await client.get("/health/live")).status_code == 200


async def test_deadline_drops_what_was_not_run(bundles: Path, engine: FakeEngine) -> None:
    """An image that waits beyond the deadline gets 504 at once and is never run."""
    async with running(make_settings(bundles, deadline_ms=150), engine.build) as service:
        engine.forget()
        engine.gate.clear()
        first = asyncio.create_task(service.client.post(PREDICT, content=make_png()))
        await until(lambda: engine.entered.acquire(blocking=False))
        verify_problem(
            await service.client.post(PREDICT, content=make_png()), 504, "deadline-exceeded"
        )
        engine.gate.set()
        assert (await first).status_code == 200  # it was running already: answered, if late
    assert engine.batches == [1]


def test_table_and_document_agree() -> None:
    """Each problem type has a heading with its status in docs/problems.md, and no other has."""
    sections = dict(re.findall(r"^## (\S+)\n\nStatus (\d+)", DOCUMENT.read_text(), re.MULTILINE))
    assert sections == {
        kind.slug: str(kind.status)
        for kind in {*ALL_PROBLEM_TYPES, *GATEWAY_PROBLEM_TYPES.values()}
    }
    headings = re.findall(r"^## (.+)$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(headings) == len(sections)


def test_documented_settings_exist() -> None:
    """The settings the document names are real ones."""
    named = set(re.findall(r"CXR_([A-Z_]+)", DOCUMENT.read_text()))
    assert named
    gateways = {f"GATEWAY_{name.upper()}" for name in GatewaySettings.model_fields}
    assert named <= {name.upper() for name in Settings.model_fields} | gateways


def test_subclass_of_a_mapped_error_is_mapped() -> None:
    """The table is looked up along the inheritance, and ends at internal."""
    for error, kind in PROBLEM_TYPES.items():
        derived = type("Derived", (error,), {"__init__": lambda self: None})
        assert problem_type_of(derived()) is kind
    assert problem_type_of(json.JSONDecodeError("x", "", 0)).slug == "internal"


INFER = "/v2/models/resnet18/infer"
MEMORY_ENDS_IN = {
    "a form": (
        "service.http.receive.read_parts",
        PREDICT,
        {"content": b"", "headers": MULTIPART},
    ),
    "json": ("service.http.receive.parse_json_images", PREDICT, make_json(ENCODED)),
    "a body": ("service.http.receive._read_raw", PREDICT, {"content": make_png()}),
    "v2": ("service.http.v2.receive.parse_call", INFER, {"content": b"{}"}),
    "one image": (
        "service.models.predictor.prepare_image",
        PREDICT,
        {"content": make_png()},
    ),
}


@pytest.mark.parametrize("where", MEMORY_ENDS_IN)
async def test_memory_that_ends_is_told_as_load(
    where: str, service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of the service's code, and there may be some again in a moment."""
    name, path, request = MEMORY_ENDS_IN[where]

    def fail(*given: Any, **named: Any) -> Any:
        raise MemoryError("secret")

    monkeypatch.setattr(name, fail)
    response = await service.client.post(path, **request)
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    assert "not enough memory" in response.text
    assert service.app.state.body_budget.free_bytes == 2_000_000
    assert (await service.client.get("/health/live")).status_code == 200


def test_gateway_tells_it_alike() -> None:
    """The table is the service's."""
    context = RequestContext(Timeline("id"), Deadline.after_ms(1))
    rules = gateway_rules(GatewayMetrics())
    response = rules.refuse({SCOPE_KEY: context}, MemoryError("secret"))
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    assert b"not enough memory" in response.body
