"""What /v2 answers, whoever asks: forms, limits and refusals."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import struct
import zlib
from typing import Any

import httpx
import numpy as np
import pytest

from service.http.v2.wire import InferAnswer
from tests.service.conftest import make_settings
from tests.service.fake_engine import POISON, FakeEngine
from tests.service.harness import Running, load_of, running, until, waiting_for_run
from tests.service.make_bundle import SIZE_PX, probabilities_of
from tests.service.make_images import make_dicom, make_flat_png, make_png, make_png_bomb

pytestmark = pytest.mark.anyio

INFER = "/v2/models/resnet18/infer"
HEADER_LENGTH = "Inference-Header-Content-Length"
PIXELS = SIZE_PX * SIZE_PX


def make_request(*files: bytes, **members: Any) -> dict[str, Any]:
    """Make a JSON request of files."""
    texts = [base64.b64encode(file).decode() for file in files]
    tensor = {"name": "image_bytes", "shape": [len(files)], "datatype": "BYTES", "data": texts}
    return {"inputs": [tensor]} | members


def make_input(**changes: Any) -> dict[str, Any]:
    """Make one valid ``image`` input; changes replace members, None removes one."""
    tensor = {
        "name": "image",
        "shape": [1, 1, SIZE_PX, SIZE_PX],
        "datatype": "UINT8",
        "data": [90] * PIXELS,
    }
    return {key: value for key, value in (tensor | changes).items() if value is not None}


def make_files_input(**changes: Any) -> dict[str, Any]:
    """Make one valid ``image_bytes`` input, changed likewise."""
    return {
        key: value
        for key, value in (make_request(make_png())["inputs"][0] | changes).items()
        if value is not None
    }


async def send_binary(
    service: Running, header: dict[str, Any] | bytes, tail: bytes, length: str | None = None
) -> httpx.Response:
    """Send JSON with what follows it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    headers = {HEADER_LENGTH: str(len(text)) if length is None else length}
    return await service.client.post(INFER, content=text + tail, headers=headers)


def pack(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(one)) + one for one in elements)


def binary_input(size: int, **changes: Any) -> dict[str, Any]:
    tensor = make_files_input(data=None, parameters={"binary_data_size": size}) | changes
    return {"inputs": [tensor]}


def verify_error(response: httpx.Response, status: int, words: str = "") -> None:
    """An error has this protocol's form and its status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body.keys() == {"error"}
    assert words in body["error"]
    assert "Traceback" not in body["error"]


def nested(*shape: int) -> Any:
    return np.full(shape, 90, dtype=np.uint8).tolist()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"data": nested(1, 1, SIZE_PX, SIZE_PX)}, 200),
        ({"name": "pixels"}, 400),
        ({"datatype": "FP32"}, 400),
        ({"datatype": "uint8"}, 400),
        ({"datatype": 7}, 400),
        ({"shape": [1, SIZE_PX, SIZE_PX]}, 400),
        ({"shape": [1, 3, SIZE_PX, SIZE_PX]}, 400),
        ({"shape": []}, 400),
        ({"shape": [0, 1, SIZE_PX, SIZE_PX]}, 400),
        ({"shape": [-1, 1, SIZE_PX, SIZE_PX]}, 400),
        ({"shape": [-1, -1, SIZE_PX, SIZE_PX]}, 400),
        ({"shape": [True, 1, SIZE_PX, SIZE_PX]}, 400),
        ({"shape": [1.0, 1, SIZE_PX, SIZE_PX]}, 400),
        ({"shape": "1"}, 400),
        ({"shape": None}, 400),
        ({"shape": [1] * 5000}, 400),
        ({"shape": [2, 1, SIZE_PX, SIZE_PX]}, 400),
        ({"shape": [7, 1, SIZE_PX, SIZE_PX]}, 413),
        ({"shape": [2**63, 1, SIZE_PX, SIZE_PX]}, 413),
        ({"shape": [2**64, 2**64, 2**64, 2**64]}, 400),
        ({"shape": [10**400, 1, SIZE_PX, SIZE_PX]}, 413),
        ({"data": None}, 400),
        ({"data": []}, 400),
        ({"data": "90"}, 400),
        ({"data": [90] * (PIXELS - 1)}, 400),
        ({"data": [90] * (PIXELS + 1)}, 400),
        ({"data": [-1] * PIXELS}, 400),
        ({"data": [256] * PIXELS}, 400),
        ({"data": [10**400] + [0] * (PIXELS - 1)}, 400),
        ({"data": [1.5] * PIXELS}, 400),
        ({"data": [True] * PIXELS}, 400),
        ({"data": [None] * PIXELS}, 400),
        ({"data": ["1"] * PIXELS}, 400),
        ({"data": [[]] * PIXELS}, 400),
        ({"data": [1, [2]] * (PIXELS // 2)}, 400),
        ({"data": nested(1, 1, SIZE_PX, SIZE_PX - 1)}, 400),
        ({"data": nested(1, 1, SIZE_PX - 1, SIZE_PX)}, 400),
        ({"data": nested(1, SIZE_PX, SIZE_PX)}, 400),
        ({"data": nested(1, SIZE_PX, 1, SIZE_PX)}, 400),
        ({"data": nested(1, 1, 1, SIZE_PX, SIZE_PX)}, 400),
        ({"parameters": {"binary_data_size": 0}}, 400),
        ({"parameters": {"binary_data_size": PIXELS}, "data": None}, 400),
        ({"parameters": {"shared_memory_region": "x"}, "data": None}, 400),
        ({"parameters": []}, 400),
        ({"unknown": 1}, 400),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else str(value),
)
async def test_model_input_in_json(service: Running, changes: dict[str, Any], status: int) -> None:
    """A tensor is taken exactly as declared, flat or nested, or refused before it is run."""
    engine_input = make_input(**changes)
    response = await service.client.post(INFER, json={"inputs": [engine_input]})
    if status == 200:
        expected = probabilities_of(np.full((1, 1, SIZE_PX, SIZE_PX), 90, dtype=np.uint8))[0, 1]
        outputs = {one["name"]: one for one in response.json()["outputs"]}
        assert outputs["probability"]["data"] == [pytest.approx(float(expected), abs=1e-6)]
    else:
        verify_error(response, status)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"shape": [1, 1]}, 200),
        ({"shape": [1, 1], "data": [make_files_input()["data"]]}, 200),
        ({"parameters": {"content_type": "base64"}}, 200),
        ({"parameters": {"content_type": "str"}}, 400),
        ({"shape": [1, 2]}, 400),
        ({"shape": [2]}, 400),
        ({"shape": [7]}, 413),
        ({"datatype": "UINT8"}, 400),
        ({"data": ["!!!"]}, 400),
        ({"data": [make_files_input()["data"][0] + "\n"]}, 400),
        ({"data": ["é"]}, 400),
        ({"data": [90]}, 400),
        ({"data": [{}]}, 400),
        ({"data": [""]}, 415),
        ({"data": [base64.b64encode(b"junk").decode()]}, 415),
        ({"data": [base64.b64encode(make_png()[:-40]).decode()]}, 422),
        ({"data": [base64.b64encode(make_png_bomb()).decode()]}, 413),
        ({"data": [base64.b64encode(make_png(width=20)).decode()]}, 422),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else str(value),
)
async def test_files_in_json(service: Running, changes: dict[str, Any], status: int) -> None:
    """Files are base64, with the refusals of /v1/predict."""
    response = await service.client.post(INFER, json={"inputs": [make_files_input(**changes)]})
    if status == 200:
        assert response.status_code == 200
    else:
        verify_error(response, status)


DEEP = b'{"inputs": ' + b"[" * 900 + b"]" * 900 + b"}"
DEEPER = b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
GOOD = json.dumps(make_request(make_png())).encode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (GOOD, 200),
        (b"", 400),
        (b"{", 400),
        (b"null", 400),
        (b"[]", 400),
        (b'"x"', 400),
        (b"1", 400),
        (b"{}", 400),
        (b'{"inputs": []}', 400),
        (b'{"inputs": [1, 2]}', 400),
        (b"\xff\xfe", 400),
        (GOOD.decode().encode("utf-16"), 400),
        (GOOD + b"tail", 400),
        (GOOD.replace(b'"shape": [1]', b'"shape": [NaN]'), 400),
        (GOOD.replace(b'"shape": [1]', b'"shape": [1], "shape": [1]'), 400),
        (b'{"id": NaN,' + GOOD[1:], 400),
        (b'{"id": 7,' + GOOD[1:], 400),
        (b'{"id": null,' + GOOD[1:], 200),
        (b'{"parameters": null, "outputs": null, "model_name": null,' + GOOD[1:], 200),
        (b'{"parameters": {"operating_point": null},' + GOOD[1:], 200),
        (b'{"parameters": {"binary_data_output": null},' + GOOD[1:], 200),
        (b'{"outputs": [{"name": "label", "parameters": null}],' + GOOD[1:], 200),
        (b'{"outputs": [{"name": "label", "parameters": {"binary_data": null}}],' + GOOD[1:], 200),
        (GOOD.replace(b'"shape"', b'"parameters": null, "shape"'), 200),
        (GOOD.replace(b'"shape"', b'"parameters": {"binary_data_size": null}, "shape"'), 200),
        (b'{"inputs": null}', 400),
        (b"\xef\xbb\xbf" + GOOD, 200),
        (b"\xef\xbb\xbf\xef\xbb\xbf" + GOOD, 400),
        (b'{"id": {},' + GOOD[1:], 400),
        (b'{"id": "\\ud800",' + GOOD[1:], 400),  # half a character
        (b'{"id": "' + b"x" * 129 + b'",' + GOOD[1:], 400),
        (b'{"model_name": "cnn",' + GOOD[1:], 400),
        (b'{"model_name": "resnet18",' + GOOD[1:], 200),
        (b'{"secret": 1,' + GOOD[1:], 400),
        (b'{"parameters": {"operating_point": "balanced"},' + GOOD[1:], 200),
        (b'{"parameters": {"operating_point": "best"},' + GOOD[1:], 400),
        (b'{"parameters": {"operating_point": 1},' + GOOD[1:], 400),
        (b'{"parameters": {"timeout": 1},' + GOOD[1:], 400),
        (b'{"parameters": {"binary_data_output": "yes"},' + GOOD[1:], 400),
        (b'{"outputs": [],' + GOOD[1:], 200),
        (b'{"outputs": [{"name": "label"}],' + GOOD[1:], 200),
        (b'{"outputs": [{"name": "class"}],' + GOOD[1:], 400),
        (b'{"outputs": [{"name": "label"}, {"name": "label"}],' + GOOD[1:], 400),
        (b'{"outputs": [{"name": "label", "parameters": {"classification": 2}}],' + GOOD[1:], 400),
        (b'{"outputs": ["label"],' + GOOD[1:], 400),
        (b'{"outputs": {},' + GOOD[1:], 400),
        (b'{"inputs": [' + b"1," * 8000 + b"1]}", 413),
        (b'{"inputs": [' + b"[]," * 2000 + b"1]}", 413),
        (b"{" + b",".join(b'"%d":1' % i for i in range(1001)) + b"}", 413),
        (DEEP, 400),
        (DEEPER, 413),
    ],
    ids=lambda value: value[:44].decode("latin-1") if isinstance(value, bytes) else str(value),
)
async def test_json_requests(service: Running, body: bytes, status: int) -> None:
    """Only a whole and understood request is answered; nothing of it is ignored."""
    response = await service.client.post(INFER, content=body)
    if status == 200:
        assert response.status_code == 200, response.text
    else:
        verify_error(response, status)
        assert "secret" not in response.text


async def test_inputs_are_exactly_one(service: Running) -> None:
    """Two inputs, the same twice or both kinds, are refused."""
    for inputs in ([make_input(), make_files_input()], [make_input()] * 2):
        response = await service.client.post(INFER, json={"inputs": inputs})
        verify_error(response, 400, "exactly one")


@pytest.mark.parametrize(
    ("tail", "size", "length", "status"),
    [
        (pack(make_png()), None, None, 200),
        (pack(make_png()), None, "0", 400),
        (pack(make_png()), None, "-1", 400),
        (pack(make_png()), None, "1e3", 400),
        (pack(make_png()), None, "²", 400),
        (pack(make_png()), None, "9" * 5000, 400),
        (pack(make_png()), None, "99999999", 400),
        (pack(make_png()), None, "20", 400),
        (pack(make_png()), 4, None, 400),
        (pack(make_png()), 2**70, None, 400),
        (pack(make_png()), -1, None, 400),
        (pack(make_png())[:-1], None, None, 400),
        (pack(make_png()) + b"x", None, None, 400),
        (pack(make_png(), make_png()), None, None, 400),
        (b"", None, None, 400),
        (b"\x01\x00\x00", None, None, 400),
        (b"\xff\xff\xff\xff", None, None, 400),
        (b"\x00\x00\x00\x00", None, None, 415),
    ],
)
async def test_binary_files(
    service: Running, tail: bytes, size: int | None, length: str | None, status: int
) -> None:
    """The header's length, the declared size and the lengths within agree, or it is refused."""
    header = binary_input(len(tail) if size is None else size)
    if length == "²":
        headers = {HEADER_LENGTH.encode(): "²".encode("latin-1")}
        response = await service.client.post(
            INFER, content=json.dumps(header).encode() + tail, headers=headers
        )
    else:
        response = await send_binary(service, header, tail, length)
    if status == 200:
        assert response.status_code == 200, response.text
    else:
        verify_error(response, status)


@pytest.mark.parametrize("difference", [-1, 0, 1])
async def test_binary_model_input_has_a_byte_for_each_pixel(
    service: Running, difference: int
) -> None:
    """A tensor shorter or longer than its shape is refused."""
    tail = bytes([90]) * (2 * PIXELS + difference)
    tensor = make_input(
        data=None, shape=[2, 1, SIZE_PX, SIZE_PX], parameters={"binary_data_size": len(tail)}
    )
    response = await send_binary(service, {"inputs": [tensor]}, tail)
    if difference:
        verify_error(response, 400, "bytes")
    else:
        assert response.status_code == 200


async def test_binary_outputs_follow_the_json(service: Running) -> None:
    """An output's own wish goes before the request's; the rest of the answer stays JSON."""
    request = make_request(
        make_png(90),
        make_png(170),
        id="é✓",
        parameters={"binary_data_output": True},
        outputs=[
            {"name": "probabilities"},
            {"name": "decision"},
            {"name": "label", "parameters": {"binary_data": False}},
            {"name": "in_scope"},
            {"name": "population", "parameters": {"binary_data": False}},
        ],
    )
    response = await service.client.post(INFER, json=request)
    length = int(response.headers[HEADER_LENGTH])
    assert response.headers["content-type"] == "application/octet-stream"
    answer = InferAnswer.model_construct(**json.loads(response.content[:length]))
    assert answer.id == "é✓"
    sizes = [one.get("parameters", {}).get("binary_data_size") for one in answer.outputs]
    assert sizes == [16, 4 + 8 + 4 + 8, None, 2, None]
    assert answer.outputs[2]["data"] == ["NORMAL", "PNEUMONIA"]
    assert answer.outputs[4]["data"] == ["children", "children"]
    tail = response.content[length:]
    numbers = np.frombuffer(tail[:16], "<f4").reshape(2, 2)
    assert numbers.sum(axis=1) == pytest.approx([1.0, 1.0])
    assert tail[16:] == pack(b"negative", b"positive") + b"\x01\x01"


async def test_scope_is_judged_for_model_inputs_too(service: Running) -> None:
    """A blank tensor is referred, with the reason."""
    answer = (await service.client.post(INFER, json={"inputs": [make_input()]})).json()
    outputs = {one["name"]: one["data"] for one in answer["outputs"]}
    assert outputs["decision"] == ["refer"]
    assert outputs["in_scope"] == [False]
    assert "contrast" in outputs["reasons"][0]
    assert outputs["population"] == [""]
    assert outputs["warnings"] == [""]


async def test_scope_can_refuse(bundles: Any, engine: FakeEngine) -> None:
    """CXR_SCOPE=refuse answers 422 with the image's position."""
    async with running(make_settings(bundles, scope="refuse"), engine.build) as service:
        files = make_request(make_png(), make_dicom(ViewPosition="LL"))
        verify_error(await service.client.post(INFER, json=files), 422, "Image 1: ")


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("gzip", gzip.compress(GOOD), 200),
        ("GZIP", gzip.compress(GOOD), 200),
        ("deflate", zlib.compress(GOOD), 200),
        ("identity", GOOD, 200),
        ("gzip", gzip.compress(GOOD)[:-5], 400),
        ("gzip", gzip.compress(GOOD) + b"x", 400),
        ("gzip", GOOD, 400),
        ("gzip", b"", 400),
        ("deflate", gzip.compress(GOOD), 400),
        ("gzip", gzip.compress(bytes(3_000_000)), 413),
        ("br", GOOD, 415),
        ("gzip, gzip", gzip.compress(gzip.compress(GOOD)), 415),
    ],
    ids=lambda value: "body" if isinstance(value, bytes) else str(value),
)
async def test_compressed_bodies(service: Running, encoding: str, body: bytes, status: int) -> None:
    """What the clients can compress is read, within the limit of what it unpacks to."""
    headers = {"Content-Encoding": encoding}
    response = await service.client.post(INFER, content=body, headers=headers)
    if status == 200:
        assert response.status_code == 200
    else:
        verify_error(response, status)
    assert service.app.state.body_budget.free_bytes == 2_000_000


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2", 200),
        ("GET", "/v2/health/live", 200),
        ("GET", "/v2/health/ready", 200),
        ("GET", "/v2/models/resnet18", 200),
        ("GET", "/v2/models/resnet18/versions/1.0.0", 200),
        ("GET", "/v2/models/resnet18/versions/1.0.0/ready", 200),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/models/resnet18/versions/2", 404),
        ("GET", "/v2/models/resnet18/versions/2/ready", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/resnet18/versions/2/infer", 404),
        ("GET", "/v2/models/resnet18/config", 404),
        ("GET", "/v2/nothing", 404),
        ("GET", INFER, 405),
        ("POST", INFER + "?operating_point=balanced", 400),
    ],
)
async def test_paths(service: Running, method: str, path: str, status: int) -> None:
    """What is there answers, and every error is in this protocol's form."""
    response = await service.client.request(method, path)
    if status == 200:
        assert response.status_code == 200
    else:
        verify_error(response, status)


async def test_problems_elsewhere_keep_their_form(service: Running) -> None:
    """Paths that merely begin alike are not this protocol's."""
    for path in ("/v2x", "/v1/models/other"):
        response = await service.client.get(path)
        assert response.headers["content-type"] == "application/problem+json"


async def test_full_queue(service: Running, engine: FakeEngine) -> None:
    """429 with Retry-After, and nothing of the request is queued."""
    engine.gate.clear()
    load = load_of(service)
    first = asyncio.create_task(service.client.post(INFER, json=make_request(make_png())))
    await until(lambda: engine.entered.acquire(blocking=False))
    waiting = make_request(*[make_png()] * 6)
    second = asyncio.create_task(service.client.post(INFER, json=waiting))
    await until(lambda: load.images == 7)
    refused = await service.client.post(INFER, json=make_request(*[make_png()] * 6))
    verify_error(refused, 429, "Queue full")
    assert int(refused.headers["retry-after"]) >= 1
    assert load.images == 7
    engine.gate.set()
    assert [(await one).status_code for one in (first, second)] == [200, 200]


async def test_full_queue_refuses_before_the_body_is_read(service: Running) -> None:
    """Of a request that cannot be taken no byte is received."""

    async def never() -> Any:
        raise AssertionError("the body was read")
        yield b""

    load = load_of(service)
    load.images = load.capacity
    verify_error(await service.client.post(INFER, content=never()), 429)


@pytest.mark.parametrize(
    ("images", "status", "says"),
    [
        ((make_png(), b"junk", make_png()[:-40]), 415, "Image 1: "),
        ((make_png(), make_png()[:-40], b"junk"), 422, "Image 1: "),
        ((b"junk", make_png(), make_png()), 415, "Image 0: "),
        ((make_png(), make_png(), make_png()[:-40]), 422, "Image 2: "),
    ],
    ids=["unknown, then cut", "cut, then unknown", "the first", "the last"],
)
async def test_one_bad_image_fails_the_request(
    service: Running, images: tuple[bytes, ...], status: int, says: str
) -> None:
    """The first bad one gives status and message, and nothing is told of the others."""
    response = await service.client.post(INFER, json=make_request(*images))
    verify_error(response, status, says)
    assert response.json().keys() == {"error"}
    assert load_of(service).images == 0


async def test_not_finite_answer_fails_the_request(service: Running, engine: FakeEngine) -> None:
    """NaN never reaches a client as a number."""
    engine.poisoned = True
    request = make_request(make_png(), make_flat_png(POISON))
    verify_error(await service.client.post(INFER, json=request), 500, "Image 1: ")


async def test_engine_failure_says_nothing_of_itself(service: Running, engine: FakeEngine) -> None:
    """An engine's exception is 500 without its text."""
    engine.fails = True
    response = await service.client.post(INFER, json=make_request(make_png()))
    verify_error(response, 500, "Inference failed")
    assert "secret" not in response.text


async def test_bug_says_nothing_of_itself(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last resort has this protocol's form, too."""
    monkeypatch.setattr(load_of(service), "verify_room", lambda *_: 1 / int("0"))
    response = await service.client.post(INFER, json=make_request(make_png()))
    verify_error(response, 500, "Internal error")
    assert "zero" not in response.text


async def test_limits_of_the_body(service: Running) -> None:
    """Too large is 413 at its declared length; no memory left is 429."""
    verify_error(await service.client.post(INFER, content=bytes(1_000_001)), 413)
    service.app.state.body_budget.free_bytes -= 1_999_990
    verify_error(await service.client.post(INFER, content=GOOD), 429)


async def test_not_ready(settings: Any, engine: FakeEngine) -> None:
    """503 with Retry-After while starting and draining; liveness stays."""
    engine.gate.clear()
    async with running(settings, engine.build, wait=False) as service:
        client = service.client
        paths = ("/v2/health/ready", "/v2/models/resnet18/ready", "/v2/models/resnet18")
        for path in paths:
            response = await client.get(path)
            verify_error(response, 503)
            assert int(response.headers["retry-after"]) >= 1
        verify_error(await client.post(INFER, content=GOOD), 503)
        verify_error(await client.post("/v2/repository/index"), 503)
        engine.gate.set()
        await until(lambda: service.runtime.lifecycle.is_ready)
        assert (await client.get("/v2/models/resnet18/ready")).json()["ready"] is True
        service.runtime.lifecycle.drain()
        for path in paths[:2]:
            verify_error(await client.get(path), 503)
        verify_error(await client.post(INFER, content=GOOD), 503)
        assert (await client.get("/v2/health/live")).json() == {"live": True}


async def test_deadline(bundles: Any, engine: FakeEngine) -> None:
    """What waits beyond its deadline is 504 and never run."""
    async with running(make_settings(bundles, deadline_ms=150), engine.build) as service:
        engine.forget()
        engine.gate.clear()
        first = asyncio.create_task(service.client.post(INFER, content=GOOD))
        await until(lambda: engine.entered.acquire(blocking=False))
        verify_error(await service.client.post(INFER, content=GOOD), 504, "deadline")
        engine.gate.set()
        await first
    assert engine.batches == [1]


async def test_disconnected_client_is_not_run(service: Running, engine: FakeEngine) -> None:
    """A client that goes away takes its images out of the queue."""
    engine.gate.clear()
    first = asyncio.create_task(service.client.post(INFER, content=GOOD))
    await until(lambda: engine.entered.acquire(blocking=False))
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": GOOD})

    async def send(message: Any) -> None:
        assert message["type"] != "http.response.start" or message["status"] == 499

    scope = {"type": "http", "method": "POST", "path": INFER, "headers": [], "query_string": b""}
    gone = asyncio.create_task(service.app(scope, messages.get, send))
    await until(lambda: waiting_for_run(service) == 1)
    messages.put_nowait({"type": "http.disconnect"})
    async with asyncio.timeout(5):
        await gone
    engine.gate.set()
    assert (await first).status_code == 200
    assert engine.batches == [1]
    assert load_of(service).images == 0


async def test_log_line(service: Running, caplog: pytest.LogCaptureFixture) -> None:
    """One line a request, with route, model and count, and nothing of the client's text."""
    with caplog.at_level(logging.INFO):
        await service.client.post(INFER, json=make_request(make_png(), b"junk", id="Doe^Jane"))
    (line,) = [record for record in caplog.records if record.getMessage() == "request"]
    fields = line.fields  # type: ignore[attr-defined]
    assert fields["route"] == "/v2/models/{name}/infer"
    assert (fields["model"], fields["images"], fields["status"]) == ("resnet18", 2, 415)
    assert fields["problems"] == ["unsupported-media"]
    assert "Jane" not in str(fields)


async def test_openapi_examples_run(real_service: Running) -> None:
    """The examples of the documentation are answered."""
    document = (await real_service.client.get("/openapi.json")).json()
    post = document["paths"]["/v2/models/{name}/infer"]["post"]
    assert {"400", "404", "413", "415", "422", "429", "503", "504"} <= post["responses"].keys()
    examples = post["requestBody"]["content"]["application/json"]["examples"]
    for example in examples.values():
        response = await real_service.client.post(INFER, json=example["value"])
        assert response.status_code == 200
        assert (
            "positive" in response.text or "negative" in response.text or "refer" in response.text
        )
