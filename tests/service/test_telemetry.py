"""What the service tells about itself, and what it must not tell."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from service.telemetry.logs import LOG, configure_logging, log_event
from service.telemetry.timeline import Timeline
from tests.service.fake_engine import FakeEngine
from tests.service.harness import Running
from tests.service.make_images import make_dicom, make_png

pytestmark = pytest.mark.anyio

CANARIES = ("Canary", "CANARY", "Z4711", "Jane")  # none can occur in a hexadecimal id


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log, at its most talkative; put back afterwards."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level, own_level = root.handlers[:], root.level, LOG.level
    configure_logging("debug", stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    LOG.setLevel(own_level)


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    """Read the log back."""
    return [json.loads(line) for line in log.getvalue().splitlines()]


async def test_one_line_for_each_request(service: Running, log: io.StringIO) -> None:
    """With what is needed to find and understand it, however often logging is set up."""
    configure_logging("debug", log)
    headers = {"X-Request-ID": "abc"}
    await service.client.post("/v1/predict", content=make_png(), headers=headers)
    [line] = [line for line in lines(log) if line["event"] == "request"]
    assert line["request_id"] == "abc"
    assert (line["method"], line["route"], line["status"]) == ("POST", "/v1/predict", 200)
    assert (line["model"], line["images"], line["body_bytes"]) == ("resnet18", 1, len(make_png()))
    assert line["timings_ms"]["total"] > 0
    assert line["level"] == "info"


async def test_probes_are_logged_for_debugging_only(service: Running, log: io.StringIO) -> None:
    """They come every few seconds; HEAD is still told from GET."""
    await service.client.head("/health/ready")
    [line] = lines(log)
    assert (line["level"], line["method"], line["route"]) == ("debug", "HEAD", "/health/ready")


async def test_nothing_of_the_patient_is_told(
    service: Running, engine: FakeEngine, log: io.StringIO
) -> None:
    """Neither header values nor names nor paths nor queries reach an answer or the log."""
    cut = make_dicom()[:-500]
    odd = make_dicom(WindowCenter="128", Rows=95)
    requests: list[dict[str, Any]] = [
        {"content": make_dicom()},
        {"content": cut},
        {"content": odd},
        {"files": [("files", ("Jane.dcm", make_dicom())), ("files", ("Jane.dcm", cut))]},
        {"files": [("Jane", ("Jane.dcm", make_dicom()))]},
        {"content": make_dicom(), "params": {"model": "Jane"}},
        {"content": make_dicom(), "params": {"operating_point": "Jane"}},
        {"content": b"Jane"},
        {"json": {"images": [{"id": "a", "data": "Jane!"}], "Jane": 1}},
        {"json": {"images": [{"data": "Jane!"}]}},
    ]
    told = []
    for request in requests:
        response = await service.client.post("/v1/predict", **request)
        told.append(response.text.replace('"id":"Jane.dcm"', ""))  # whose file it is
        told.append(str(response.headers))
    engine.fails = True
    told.append((await service.client.post("/v1/predict", content=make_dicom())).text)
    told.append((await service.client.get("/v1/models/Jane")).text)
    told.append((await service.client.get("/patients/Jane")).text)
    assert len([line for line in lines(log) if line["event"] == "request"]) == len(requests) + 3
    assert not [canary for canary in CANARIES for text in (*told, log.getvalue()) if canary in text]


def test_exceptions_are_told_by_place_not_by_text(log: io.StringIO) -> None:
    """A library's exception may quote what it was given."""
    try:
        int("Doe^Jane")
    except ValueError as error:
        log_event(logging.ERROR, "broken", error, items=2)
    [line] = lines(log)
    assert (line["event"], line["items"], line["error"]["type"]) == ("broken", 2, "ValueError")
    assert "test_telemetry.py" in line["error"]["frames"][0]
    assert "Jane" not in log.getvalue()


def test_timeline_adds_up_stages() -> None:
    """Stages not reached are zero, repeated ones are added, the total goes on."""
    now_s = [0.0]
    timeline = Timeline(clock=lambda: now_s[0])
    for _ in range(2):
        with timeline.stage("decode"):
            now_s[0] += 0.25
    timings_ms = {"decode": 500.0, "queue": 0.0, "inference": 0.0, "total": 500.0}
    assert timeline.answer_timings_ms() == timings_ms
    assert timeline.timings_ms() == {
        "recv": 0.0, "decode": 500.0, "queue": 0.0, "infer": 0.0, "total": 500.0
    }  # fmt: skip
