"""HTTP exchanges bounded in time and size, without decompression.

httpx reads whatever comes: three kilobytes of brotli may be three gigabytes.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import aclosing, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Literal, TypeAlias

import httpx

from service.client.timed_connections import ending_within, is_over, time_connections

MAX_REFUSAL_BYTES = 65_536
"""Most of an unsuccessful answer: a problem has a few hundred bytes, and a page is not needed."""

FREE_CHUNKS, LEAST_CHUNK_BYTES = 10_000, 64
"""Chunks of one byte (RFC 9112, 7.1) cost a thousand times their content, so after the free ones
their mean size must be at least this."""

IDENTITY = {"Accept-Encoding": "identity"}

Refusal: TypeAlias = Literal["too-large", "encoded", "fragmented"]


class AnswerRefusedError(httpx.TransportError):
    """The unread answer is too large, compressed or fragmented."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(f"The answer is {reason.replace('-', ' ')} and was not read.")
        self.reason: Refusal = reason


@dataclass(frozen=True)
class Bounds:
    """Limits of an exchange: time to the last byte, and size of a successful answer."""

    timeout_s: float
    max_bytes: int


def build_client(**options: Any) -> httpx.Client:
    """Build a client for uncompressed answers, without cookies."""
    options.setdefault("verify", _authorities(options.get("trust_env", True)))
    client = httpx.Client(**options, headers=IDENTITY, cookies=_no_cookies())
    time_connections(client)
    return client


def build_async_client(**options: Any) -> httpx.AsyncClient:
    """See :func:`build_client`."""
    return httpx.AsyncClient(**options, headers=IDENTITY, cookies=_no_cookies())


@cache
def _authorities(trust_env: bool) -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=trust_env)


def _no_cookies() -> CookieJar:
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


@contextmanager
def open_answer(client: httpx.Client, timeout_s: float, **request: Any) -> Iterator[httpx.Response]:
    """Send a request and yield the unread answer; the timeout includes reading it."""
    with ending_within(timeout_s), client.stream(**request) as response:
        yield response


def read_chunks(response: httpx.Response, max_bytes: int) -> Iterator[bytes]:
    """Yield an open answer's body in chunks; raise AnswerRefusedError."""
    verify_answer(response, max_bytes)
    meter = _Meter(max_bytes)
    for chunk in response.iter_bytes():
        meter.count(chunk)
        yield chunk


class _Meter:
    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = self._chunks = 0

    def count(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        self._chunks += 1
        if self._bytes > self._max_bytes:
            raise AnswerRefusedError("too-large")
        if self._chunks > FREE_CHUNKS and self._bytes < LEAST_CHUNK_BYTES * self._chunks:
            raise AnswerRefusedError("fragmented")
        if is_over():
            raise httpx.ReadTimeout("The answer did not end in time.")


def verify_answer(response: httpx.Response, max_bytes: int) -> None:
    """Raise AnswerRefusedError if the head declares compression or too many bytes."""
    if response.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise AnswerRefusedError("encoded")
    declared = response.headers.get("content-length", "")
    # The protocol rejects anything but a number; int() of a very long one would be slow.
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > max_bytes):
        raise AnswerRefusedError("too-large")


def exchange(client: httpx.Client, bounds: Bounds, **request: Any) -> httpx.Response:
    """Build a request of httpx's arguments and :func:`send` it."""
    return send(client, bounds, client.build_request(**request))


def send(client: httpx.Client, bounds: Bounds, request: httpx.Request) -> httpx.Response:
    """Send a request and return the whole answer. Any thread.

    An unsuccessful answer with too large a body is returned without it.

    Raises:
        AnswerRefusedError: A successful answer is too large, compressed or fragmented.
        httpx.TransportError: There is no complete answer in time.
    """
    with ending_within(bounds.timeout_s), closing(client.send(request, stream=True)) as response:
        content = bytearray()
        try:
            for chunk in read_chunks(response, _limit(response, bounds)):
                content += chunk
        except AnswerRefusedError:
            if response.is_success:
                raise
            content.clear()
        return _whole(response, content)


async def send_async(
    client: httpx.AsyncClient, bounds: Bounds, request: httpx.Request
) -> httpx.Response:
    """See :func:`send`."""
    try:
        async with (
            asyncio.timeout(bounds.timeout_s),
            aclosing(await client.send(request, stream=True)) as response,
        ):
            content, meter = bytearray(), _Meter(limit := _limit(response, bounds))
            try:
                verify_answer(response, limit)
                async for chunk in response.aiter_bytes():
                    meter.count(chunk)
                    content += chunk
            except AnswerRefusedError:
                if response.is_success:
                    raise
                content.clear()
            return _whole(response, content)
    except TimeoutError:
        raise httpx.ReadTimeout("The answer did not end in time.") from None


def _limit(response: httpx.Response, bounds: Bounds) -> int:
    return bounds.max_bytes if response.is_success else MAX_REFUSAL_BYTES


def _whole(response: httpx.Response, content: bytearray) -> httpx.Response:
    status, headers = response.status_code, response.headers
    return httpx.Response(status, headers=headers, content=bytes(content), request=response.request)
