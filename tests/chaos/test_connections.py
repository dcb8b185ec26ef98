"""Clients that are slow, send what is no HTTP, or leave."""

from __future__ import annotations

import asyncio
import random
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from benchmarks.chaos import Client as Misbehaving
from benchmarks.chaos import leave_while_sending, leave_while_waiting
from benchmarks.connection import Connection, Target, build_request
from tests.chaos.aftermath import probability_at, verify_process_unharmed
from tests.service.make_images import make_png
from tests.service.test_server import Process

pytestmark = pytest.mark.xdist_group("waits")

Start = Callable[..., Process]

SLOW_CLIENTS = 1000
POST = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n"

SLOW = (
    b"",
    b"POST /v1/pre",
    POST,
    POST + b"Content-Length: 900\r\n\r\n",
    POST + b"Content-Length: 900\r\n\r\n\x89PNG",
    POST + b"Transfer-Encoding: chunked\r\n\r\n4\r\n\x89PNG\r\n",
)
"""How far a slow client got; the next byte is a long time coming."""

MALFORMED = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "bare line feeds in a name": b"GET / HTTP/1.1\r\nHo\nst: x\r\n\r\n",
    "NUL in a value": b"GET /health HTTP/1.1\r\nHost: x\x00y\r\n\r\n",
    "space before the colon": b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
    "negative length": POST + b"Content-Length: -5\r\n\r\nhello",
    "length in words": POST + b"Content-Length: five\r\n\r\nhello",
    "endless length": POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nhello",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 5\r\n\r\nhello",
    "length and chunks": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk size": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "overlong chunk size": POST
    + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello\r\n",
    "endless head": b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000,
    "percent nonsense": b"GET /%zz%00/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "unknown method": b"BREW /v1/predict HTTP/1.1\r\nHost: x\r\n\r\n",
}


def target_of(url: str) -> Target:
    """Give where a service takes predictions."""
    address = httpx.URL(url)
    return Target(address.host, address.port or 80, "/v1/predict")


def files_open(process: Process) -> int:
    """Give how many files and sockets a process has."""
    return len(list(Path(f"/proc/{process.popen.pid}/fd").iterdir()))


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 3 * SLOW_CLIENTS, reason="too few files allowed"
)
def test_a_thousand_slow_clients(start: Start) -> None:
    """They keep nobody else waiting, are told in the end, and leave nothing behind."""
    process = start(CXR_DEADLINE_MS="4000")
    url = process.url()
    expected, before = probability_at(url), files_open(process)

    async def scenario() -> Counter[int]:
        target = target_of(url)
        slow = [await Connection.open(target) for _ in range(SLOW_CLIENTS)]
        for number, connection in enumerate(slow):
            connection.write(SLOW[number % len(SLOW)])
        begun_s = time.monotonic()
        good: Counter[int] = Counter()
        while good[200] < 20:
            connection = await Connection.open(target)
            answer = await connection.exchange(build_request(target, make_png(60 + good[200])))
            good[answer.status] += 1
            connection.close()
        assert time.monotonic() - begun_s < 3.5  # while every slow one is still there
        body = [one for i, one in enumerate(slow) if i % len(SLOW) >= 3]
        told = Counter([(await one.answer()).status for one in body])
        assert told[504] > 0
        assert set(told) <= {429, 504}
        for connection in slow:
            connection.close()
        await asyncio.sleep(0.2)
        return good

    assert set(asyncio.run(scenario())) <= {200, 429}
    verify_process_unharmed(url, expected)
    process.wait_for(lambda: files_open(process) <= before + 5)
    assert process.stop() == 0


def test_malformed_http(start: Start) -> None:
    """It is refused as the client's fault, or the connection closed; never a 500."""
    process = start()
    url = process.url()
    expected, address = probability_at(url), httpx.URL(url)
    for name, sent in MALFORMED.items():
        with socket.create_connection((address.host, address.port), 5.0) as peer:
            peer.sendall(sent)
            peer.shutdown(socket.SHUT_WR)
            with peer.makefile("rb") as answer:
                line = answer.readline()
        status = int(line.split()[1]) if line else None
        assert status is None or 400 <= status < 500, (name, line)
    verify_process_unharmed(url, expected)
    assert process.stop() == 0


def test_clients_gone_mid_batch(start: Start) -> None:
    """Half of a flood leaves while sending or waiting; the others get their own answers."""
    process = start(CXR_MAX_WAIT_MS="60000", CXR_BATCH_WINDOW_MS="20")
    url = process.url()
    expected = probability_at(url)
    files = [make_png(60 + number, width=700, height=700) for number in range(60)]
    target = target_of(url)
    rude = Misbehaving(target, files, random.Random(0))

    async def good(file: bytes) -> tuple[int, bytes]:
        connection = await Connection.open(target)
        answer = await connection.exchange(build_request(target, file))
        connection.close()
        return answer.status, answer.body

    async def scenario() -> list[tuple[int, bytes]]:
        leaving = [
            asyncio.create_task((leave_while_waiting, leave_while_sending)[i % 2](rude))
            for i in range(60)
        ]
        answers = await asyncio.gather(*map(good, files))
        await asyncio.gather(*leaving)
        return answers

    answers = asyncio.run(scenario())
    assert {status for status, _ in answers} == {200}
    lone = [httpx.post(f"{url}/v1/predict", content=file).json() for file in files[::10]]
    probability = [one["results"][0]["probability"] for one in lone]
    given = [httpx.Response(200, content=body).json() for _, body in answers[::10]]
    assert [one["results"][0]["probability"] for one in given] == probability
    verify_process_unharmed(url, expected)
    assert process.stop() == 0
