"""Bodies that come slowly, in pieces, too large, or not at all."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.errors import QueueFullError
from service.models import predictor as prediction
from service.web.bodies import BodyBudget
from tests.service.conftest import make_settings
from tests.service.fake_engine import FakeEngine
from tests.service.harness import Running, load_of, running, until
from tests.service.make_images import make_png

pytestmark = pytest.mark.anyio

PREDICT = "/v1/predict"


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    """Give data in pieces, as a chunked upload does."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


def make_scope(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    """Make the ASGI scope of a prediction."""
    return {
        "type": "http",
        "method": "POST",
        "path": PREDICT,
        "headers": list(headers),
        "query_string": b"",
    }


async def call(app: Any, scope: dict[str, Any], messages: asyncio.Queue[Any]) -> int | None:
    """Send messages to the application and give the status of its answer."""
    statuses = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, messages.get, send)
    return statuses[0] if statuses else None


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_pieces_make_a_whole(service: Running, size: int) -> None:
    """However a file is cut on its way, it is read, raw and as multipart."""
    file = make_png()
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n' + file
    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    for body, headers in ((file, {}), (part + b"\r\n--x--\r\n", multipart)):
        response = await service.client.post(PREDICT, content=pieces(body, size), headers=headers)
        assert response.json()["results"][0]["status"] == "ok"


async def test_declared_size_is_refused_before_reading(service: Running) -> None:
    """Nothing of a body is read whose Content-Length is over the limit."""
    messages: asyncio.Queue[Any] = asyncio.Queue()  # a read would wait forever
    scope = make_scope((b"content-length", b"1000001"))
    async with asyncio.timeout(5):
        assert await call(service.app, scope, messages) == 413


@pytest.mark.parametrize("length", [b"-1", b"1e9", b"abc"])
async def test_senseless_size_is_refused(service: Running, length: bytes) -> None:
    """A Content-Length must be a number."""
    assert await call(service.app, make_scope((b"content-length", length)), asyncio.Queue()) == 400


async def test_endless_body_is_cut_at_the_limit(service: Running) -> None:
    """Without a declared size, reading stops at the limit."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield make_png() + bytes(50_000)

    response = await service.client.post(PREDICT, content=endless())
    assert response.status_code == 413
    assert sent <= 21


@pytest.mark.parametrize(
    "items",
    [b"{}," * 2_000, b"[]," * 2_000, b"1," * 2_000, b'{"x":0},' * 2_000],
    ids=["objects", "lists", "numbers", "unknown members"],
)
async def test_images_are_counted_before_they_are_looked_at(service: Running, items: bytes) -> None:
    """Many bad items take no time: they are too many before they are bad."""
    headers = {"Content-Type": "application/json"}
    body = b'{"images": [' + items + b"{}]}"
    response = await service.client.post(PREDICT, content=body, headers=headers)
    assert response.status_code == 413
    assert "At most 6 images" in response.json()["detail"]


async def test_ids_may_hold_what_json_is_made_of(service: Running) -> None:
    """As many images as are accepted, with ids of nothing but brackets and commas."""
    data = base64.b64encode(make_png()).decode()
    ids = [mark * 127 + str(i) for i in range(3) for mark in "{,"]
    images = [{"id": one, "data": data} for one in ids]
    response = await service.client.post(PREDICT, json={"images": images})
    assert [result["id"] for result in response.json()["results"]] == ids


async def test_full_queue_refuses_before_reading(service: Running) -> None:
    """What cannot be queued is not received first."""
    load = load_of(service)
    messages: asyncio.Queue[Any] = asyncio.Queue()  # a read would wait forever
    load.images = load.capacity
    async with asyncio.timeout(5):
        assert await call(service.app, make_scope(), messages) == 429


async def test_what_is_no_image_is_refused_early(service: Running) -> None:
    """A raw body is known by its first bytes; the rest is not read."""
    sent = 0

    async def junk() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b"<html>" * 50

    response = await service.client.post(PREDICT, content=junk())
    assert response.status_code == 415
    assert sent <= 2


async def test_trickling_client_is_cut_at_the_deadline(bundles: Path, engine: FakeEngine) -> None:
    """A client that sends too slowly holds nothing beyond its deadline."""
    async with running(make_settings(bundles, deadline_ms=60), engine.build) as service:
        messages: asyncio.Queue[Any] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": b"\x89PNG", "more_body": True})
        async with asyncio.timeout(3):
            assert await call(service.app, make_scope(), messages) == 504
        assert service.runtime.lifecycle.active_requests == 0


async def test_client_that_aborts_its_upload_leaves_nothing(service: Running) -> None:
    """The memory set aside for its body is given back."""
    budget = service.app.state.body_budget
    messages: asyncio.Queue[Any] = asyncio.Queue()
    scope = make_scope((b"content-length", b"900000"))
    messages.put_nowait({"type": "http.request", "body": make_png()[:100], "more_body": True})
    calling = asyncio.create_task(call(service.app, scope, messages))
    await until(lambda: budget.free_bytes == 1_999_900)
    messages.put_nowait({"type": "http.disconnect"})
    assert await calling == 499
    assert budget.free_bytes == 2_000_000
    assert service.runtime.lifecycle.active_requests == 0


def test_budget_is_given_back() -> None:
    """A lease that failed to grow returns what it held."""
    budget = BodyBudget(100)
    with budget.lease() as lease:
        lease.grow_to(60)
        lease.grow_to(40)
        assert budget.free_bytes == 40
        with pytest.raises(QueueFullError):
            lease.grow_to(101)
    assert budget.free_bytes == 100


async def test_decoding_that_takes_too_long_is_answered_at_the_deadline(
    bundles: Path, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is told at its deadline, though the thread cannot be stopped."""
    released = threading.Event()
    monkeypatch.setattr(prediction, "prepare_image", lambda *_, **__: released.wait(20))
    try:
        async with running(make_settings(bundles, deadline_ms=100), engine.build) as service:
            response = await service.client.post(PREDICT, content=make_png())
            released.set()
        assert response.status_code == 504
        assert response.json()["type"].endswith("#deadline-exceeded")
    finally:
        released.set()
