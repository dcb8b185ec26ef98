"""Exchanges in bounds: what is too large, too long or packed is not read, by either client."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from service.client import AsyncClient, Client, Retry, ServiceError
from service.client.bounded_exchange import (
    FREE_CHUNKS,
    AnswerRefusedError,
    Bounds,
    build_async_client,
    build_client,
    exchange,
    send_async,
)
from service.client.exchange import retry_after_s
from tests.hostile_answers import (
    BROKEN,
    ENCODED,
    FRAGMENTED,
    NEVER_DONE,
    TOO_LARGE,
    Answer,
    serving,
    whole,
)

MIB = 1024 * 1024
BOUNDS = Bounds(timeout_s=20, max_bytes=MIB)
SHORT = Bounds(timeout_s=0.3, max_bytes=MIB)

Ask = Callable[[str, Bounds], httpx.Response]


def ask_sync(url: str, bounds: Bounds) -> httpx.Response:
    """Ask with a thread."""
    with build_client(timeout=20, trust_env=False) as client:
        return exchange(client, bounds, method="GET", url=url)


def ask_async(url: str, bounds: Bounds) -> httpx.Response:
    """Ask on a loop."""

    async def ask() -> httpx.Response:
        async with build_async_client(timeout=20, trust_env=False) as client:
            return await send_async(client, bounds, client.build_request("GET", url))

    return asyncio.run(ask())


@pytest.fixture(params=[ask_sync, ask_async], ids=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Either kind of client."""
    chosen: Ask = request.param
    return chosen


def table(**kinds: dict[str, Answer]) -> pytest.MarkDecorator:
    """Give the cases of several kinds, each with the reason of its refusal."""
    rows = [
        pytest.param(answer, reason.replace("_", "-"), id=name)
        for reason, cases in kinds.items()
        for name, answer in cases.items()
    ]
    return pytest.mark.parametrize(("answer", "reason"), rows)


@table(too_large=TOO_LARGE, encoded=ENCODED, fragmented=FRAGMENTED)
def test_what_is_too_much_is_refused_before_it_is_held(
    ask: Ask, answer: Answer, reason: str
) -> None:
    """In the memory of what is accepted, whatever it would have become."""
    with serving(answer) as server:
        tracemalloc.start()
        try:
            with pytest.raises(AnswerRefusedError) as caught:
                ask(server.url, BOUNDS)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert caught.value.reason == reason
    assert peak < 16 * MIB
    assert b"accept-encoding: identity" in server.heads[0]


@pytest.mark.parametrize("name", NEVER_DONE)
def test_what_never_ends_is_ended(ask: Ask, name: str) -> None:
    """However often something comes: httpx's own timeout is 20 s a wait here."""
    with serving(NEVER_DONE[name]) as server, pytest.raises(httpx.TimeoutException):
        ask(server.url, SHORT)


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_answer_is_an_error_of_the_transport(ask: Ask, name: str) -> None:
    """As the callers expect it."""
    with serving(BROKEN[name]) as server, pytest.raises(httpx.TransportError):
        ask(server.url, BOUNDS)


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
def test_a_whole_answer_is_given(ask: Ask, encoding: str) -> None:
    """With status, headers and content."""
    headers = {"X_Told": "y"} | ({"Content_Encoding": encoding} if encoding else {})
    with serving(whole(b"hello", 201, **headers)) as server:
        answer = ask(server.url, BOUNDS)
    assert (answer.status_code, answer.content, answer.headers["x-told"]) == (201, b"hello", "y")


@pytest.mark.parametrize("body", [b"x" * 100_000, b"packed"], ids=["large", "packed"])
def test_a_refusal_counts_by_its_status(ask: Ask, body: bytes) -> None:
    """Its body is dropped where it is not within bounds."""
    headers = {"Content_Encoding": "br"} if body == b"packed" else {}
    with serving(whole(body, 503, **headers)) as server:
        answer = ask(server.url, BOUNDS)
    assert (answer.status_code, answer.content) == (503, b"")


def test_a_connection_is_used_again() -> None:
    """Each exchange has its own time, and the deadline of one does not end the next."""
    with serving(whole(b"hello")) as server, build_client(trust_env=False) as client:
        for _ in range(2):
            answer = exchange(client, BOUNDS, method="GET", url=server.url)
            assert answer.content == b"hello"
        assert len(server.connections) == 1


def test_many_chunks_of_a_fair_size_are_read(ask: Ask) -> None:
    """Only crumbs are refused; what two reads divide counts twice."""
    chunk = b"80\r\n" + b"x" * 128 + b"\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    content = head + chunk * (FREE_CHUNKS + 10) + b"0\r\n\r\n"
    with serving(lambda connection: connection.sendall(content)) as server:
        assert len(ask(server.url, Bounds(20, 2 * MIB)).content) == 128 * (FREE_CHUNKS + 10)


def test_cookies_are_not_kept() -> None:
    """They would gather for as long as the process lives, and go back."""
    with (
        serving(whole(b"", Set_Cookie="a=b; Path=/")) as server,
        build_client(trust_env=False) as client,
    ):
        for _ in range(2):
            exchange(client, BOUNDS, method="GET", url=server.url)
    assert not [head for head in server.heads if b"cookie" in head]


@pytest.mark.parametrize(
    ("told", "expected"),
    [("7", 7.0), (" 7 ", 7.0), ("", None), ("-1", None), ("1.5", None), ("inf", None),
     ("\xb2", None), ("9" * 400, float("inf")), ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)  # fmt: skip
def test_retry_after_is_read_or_left(told: str, expected: float | None) -> None:
    """A superscript two is a digit for Python, and no number."""
    headers = httpx.Headers([(b"retry-after", told.encode("latin-1"))])
    assert retry_after_s(httpx.Response(503, headers=headers)) == expected
    again = Retry().delay_s(1, httpx.Response(503, headers=headers))
    assert 0 <= again <= 30


NOT_THE_SERVICES = {
    "no JSON": b"<html>",
    "other JSON": b"[1]",
    "deep": b'{"models":' + b"[" * 100_000,
    "infinite": b'{"models": Infinity}',
    "wrong types": b'{"models": {"a": 1}}',
    "huge number": b'{"models": [' + b"9" * 100_000 + b"]}",
    "no UTF-8": b'{"models": "\xff"}',
}


def test_millions_of_wrong_values_are_not_gathered() -> None:
    """Pydantic would tell of each, in 5 GB for the largest answer that is read."""
    content = b'{"models": [' + b"[]," * 1_000_000 + b"[]]}"
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=content))
    with Client("http://test", transport=transport) as client:
        tracemalloc.start()
        try:
            with pytest.raises(ServiceError):
                client.models()
            assert tracemalloc.get_traced_memory()[1] < 16 * MIB
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("content", NOT_THE_SERVICES.values(), ids=NOT_THE_SERVICES)
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_what_is_not_the_services_is_an_error_of_the_client(kind: Any, content: bytes) -> None:
    """One that is documented."""

    async def ask(url: str) -> Any:
        if kind is Client:
            with Client(url) as client:
                return client.models()
        async with AsyncClient(url) as client:
            return await client.models()

    with serving(whole(content)) as server, pytest.raises(ServiceError) as caught:
        asyncio.run(ask(server.url))
    assert (caught.value.status, caught.value.type) == (200, "about:blank")


@pytest.mark.parametrize(
    "content_type",
    ["multipart/related; boundary=b", 'multipart/related; boundary="b', "text/plain", "",
     "multipart/related; boundary*=utf-8''%E2%82%AC"],
)  # fmt: skip
def test_what_is_no_multipart_is_an_error_of_the_client(content_type: str) -> None:
    """Also one that lacks its end: an object may be missing."""
    answer = whole(b"--b\r\n\r\nx\r\n--b\r\n\r\nhalf", Content_Type=content_type)
    with serving(answer) as server, Client(server.url) as client, pytest.raises(ServiceError):
        client.predict_dicom(b"DICM")
