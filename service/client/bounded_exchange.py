"""Exchanges over HTTP in bounds: so long altogether, so many bytes, and nothing unpacked.

httpx reads whatever comes for as long as it comes, and unpacks it: three kilobytes of brotli are
three gigabytes.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Literal, TypeAlias

import httpx

from service.client.timed_connections import ending_within, is_over, time_connections

MAX_REFUSAL_BYTES = 65_536
"""Of the body of an answer without success: a problem is a few hundred bytes, a page not read."""

FREE_CHUNKS, LEAST_CHUNK_BYTES = 10_000, 64
"""Chunks of a byte (RFC 9112, 7.1) cost a thousand times what their content does: after so many
their mean has to be so large."""

IDENTITY = {"Accept-Encoding": "identity"}

Refusal: TypeAlias = Literal["too-large", "encoded", "fragmented"]


class AnswerRefusedError(httpx.TransportError):
    """An answer that is not read: it is larger than accepted, compressed, or fragmented.

    Attributes:
        reason: Which of these.
    """

    def __init__(self, reason: Refusal) -> None:
        super().__init__(f"The answer is {reason.replace('-', ' ')} and was not read.")
        self.reason: Refusal = reason


@dataclass(frozen=True)
class Bounds:
    """What an exchange may cost.

    Attributes:
        timeout_s: From the first byte of the request to the last of the answer.
        max_bytes: Of the answer's body; of one without success ``MAX_REFUSAL_BYTES`` are read.
    """

    timeout_s: float
    max_bytes: int


def build_client(**options: Any) -> httpx.Client:
    """Build a client for the exchanges of this module; the options are httpx's.

    It asks for what is not compressed, and keeps no cookies: they would gather, and go back.
    """
    options.setdefault("verify", _authorities(options.get("trust_env", True)))
    client = httpx.Client(**options, headers=IDENTITY, cookies=_no_cookies())
    time_connections(client)
    return client


def build_async_client(**options: Any) -> httpx.AsyncClient:
    """Build the same, awaited."""
    return httpx.AsyncClient(**options, headers=IDENTITY, cookies=_no_cookies())


@cache
def _authorities(trust_env: bool) -> ssl.SSLContext:
    """Load the certificates that are trusted, once: it takes 13 ms that hold the interpreter."""
    return httpx.create_ssl_context(trust_env=trust_env)


def _no_cookies() -> CookieJar:
    return CookieJar(DefaultCookiePolicy(allowed_domains=()))


@contextmanager
def open_answer(client: httpx.Client, timeout_s: float, **request: Any) -> Iterator[httpx.Response]:
    """Send a request and give the answer, to be read within the time there is altogether.

    Raises:
        httpx.TransportError: There is none, or not in time.
    """
    with ending_within(timeout_s), client.stream(**request) as response:
        yield response


def read_chunks(response: httpx.Response, max_bytes: int) -> Iterator[bytes]:
    """Give the body of an opened answer as it comes.

    Raises:
        AnswerRefusedError: It is larger, compressed or fragmented.
        httpx.TransportError: It breaks off, or does not end in time.
    """
    verify_answer(response, max_bytes)
    meter = _Meter(max_bytes)
    for chunk in response.iter_bytes():
        meter.count(chunk)
        yield chunk


class _Meter:
    """Counts what comes of a body.

    Args:
        max_bytes: Most of it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = self._chunks = 0

    def count(self, chunk: bytes) -> None:
        """Count a chunk.

        Raises:
            AnswerRefusedError: There is too much, or too little at a time.
            httpx.ReadTimeout: The exchange has had its time.
        """
        self._bytes += len(chunk)
        self._chunks += 1
        if self._bytes > self._max_bytes:
            raise AnswerRefusedError("too-large")
        if self._chunks > FREE_CHUNKS and self._bytes < LEAST_CHUNK_BYTES * self._chunks:
            raise AnswerRefusedError("fragmented")
        if is_over():
            raise httpx.ReadTimeout("The answer did not end in time.")


def verify_answer(response: httpx.Response, max_bytes: int) -> None:
    """Refuse an answer by its head.

    Raises:
        AnswerRefusedError: It declares more bytes, or is compressed.
    """
    if response.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise AnswerRefusedError("encoded")
    declared = response.headers.get("content-length", "")
    # Whatever is no number is the protocol's to refuse; longer ones are no longer compared.
    if declared.isdecimal() and (len(declared) > 18 or int(declared) > max_bytes):
        raise AnswerRefusedError("too-large")


def exchange(client: httpx.Client, bounds: Bounds, **request: Any) -> httpx.Response:
    """Send a request and give the whole answer. Any thread.

    Args:
        client: Of :func:`build_client`.
        bounds: What it may cost.
        **request: httpx's arguments.

    Returns:
        The answer. One without success whose body is not within its bounds comes without it: the
        status tells enough.

    Raises:
        AnswerRefusedError: A good answer is larger than accepted, or compressed.
        httpx.TransportError: There is no whole answer, or not in time.
    """
    with open_answer(client, bounds.timeout_s, **request) as response:
        limit = bounds.max_bytes if response.is_success else MAX_REFUSAL_BYTES
        try:
            content = bytearray()
            for chunk in read_chunks(response, limit):
                content += chunk
            return _whole(response, content)
        except AnswerRefusedError:
            if response.is_success:
                raise
            return _whole(response, b"")


async def exchange_async(
    client: httpx.AsyncClient, bounds: Bounds, **request: Any
) -> httpx.Response:
    """Do as :func:`exchange` does, awaited."""
    try:
        async with asyncio.timeout(bounds.timeout_s), client.stream(**request) as response:
            limit = bounds.max_bytes if response.is_success else MAX_REFUSAL_BYTES
            try:
                verify_answer(response, limit)
                content, meter = bytearray(), _Meter(limit)
                async for chunk in response.aiter_bytes():
                    meter.count(chunk)
                    content += chunk
            except AnswerRefusedError:
                if response.is_success:
                    raise
                return _whole(response, b"")
            return _whole(response, content)
    except TimeoutError:
        raise httpx.ReadTimeout("The answer did not end in time.") from None


def _whole(response: httpx.Response, content: bytes | bytearray) -> httpx.Response:
    status, headers = response.status_code, response.headers
    return httpx.Response(status, headers=headers, content=bytes(content), request=response.request)
