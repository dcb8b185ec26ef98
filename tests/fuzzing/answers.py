"""Answers of archives and services, through what the gateway reads them with, over loopback."""

from __future__ import annotations

import json
import socketserver
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.siege.made import answers
from cxr.errors import CxrError
from service.gateway.deliver.stow import StowSender
from service.gateway.deliver.stow_answer import Failed, Stored, build_stow_answer
from service.gateway.destinations import Destination
from service.gateway.header import read_header
from service.gateway.receive.pull import pull_study
from service.gateway.store.spool import Spool, Staged
from service.gateway.work.analysis import Analysis
from service.gateway.work.loop import GiveUp, TryAgain
from tests.fuzzing.damaged import damage
from tests.fuzzing.families import MIB, Family, about
from tests.gateway.objects import make_object, make_results

TIMEOUT_S = 5.0
POURED_BYTES = 96 * MIB
MOST_GZIP_MIB = 128  # deflating more takes longer than everything else
POUR = b"x-fuzz-pour: 1\r\n"
"""In the head of an answer whose body is repeated until the client has had enough."""

PULLING: dict[str, Any] = {"timeout_s": TIMEOUT_S, "longest_s": TIMEOUT_S}
PULLING |= {"max_instance_bytes": MIB, "max_body_bytes": 16 * MIB}
RELATED = 'multipart/related; type="application/dicom"; boundary=b'
SOURCE = make_object(instance="1.2.3")
NUMBERS = ("Infinity", "-Infinity", "NaN", "1e999", "9" * 5000, "-1", "1.5", '"1"', "null", "[]")
STATUSES = (200, 200, 200, 202, 204, 301, 400, 401, 409, 413, 429, 500, 503)


def make_answer(rng: np.random.Generator) -> bytes:
    """Make the bytes of an HTTP answer."""
    kind = int(rng.integers(0, 8))
    headers = {"Content-Type": "application/dicom+json"}
    body = json.dumps(_stored(rng)).encode()
    match kind:
        case 0:
            body = damage(body, rng)
        case 1:
            body = answers.deep_json(about(rng, 1, 300_000))
        case 2:
            number = NUMBERS[int(rng.integers(len(NUMBERS)))]
            body = answers.INFINITE_REASON.replace(b"Infinity", number.encode())
        case 3:
            size = about(rng, MIB, 3000 * MIB)
            coding, make = (("br", answers.brotli_bomb), ("gzip", _gzip))[int(rng.integers(2))]
            headers["Content-Encoding"], body = coding, make(size)
        case 4:
            body = answers.OPENED + b"A" * MIB
        case 5:
            headers["Content-Type"], body = RELATED, _related(make_results("1.2.3"))
            body = damage(body, rng) if rng.random() < 0.5 else body
        case 6:
            headers["Retry-After"] = ("9" * 400, "-1", "soon", "1e9")[int(rng.integers(4))]
        case _:
            headers |= {f"X-{number}": "v" * 500 for number in range(about(rng, 1, 3000))}
    status = STATUSES[int(rng.integers(len(STATUSES)))] if rng.random() < 0.5 else 200
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    if kind == 4:
        return head.encode() + POUR + b"\r\n" + body
    length = len(body) + int(rng.choice((0, 0, 0, 7, -1)))
    return f"{head}Content-Length: {max(0, length)}\r\n\r\n".encode() + body


def _related(objects: list[bytes]) -> bytes:
    """Give a body like that of each time: a boundary made by chance would be another input."""
    opening = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(opening + one + b"\r\n" for one in objects) + b"--b--\r\n"


def _stored(rng: np.random.Generator) -> dict[str, object]:
    stored = [Stored("1.2", "1.2.3")] * int(rng.integers(0, 2))
    failed = [
        Failed(int(rng.integers(1 << 16)), "1.2", f"1.2.{rng.integers(1 << 30)}") for _ in range(3)
    ]
    return build_stow_answer(stored, failed)


def _gzip(size: int) -> bytes:
    return _gzip_of(1 << (size // MIB).bit_length())


@cache
def _gzip_of(size_mib: int) -> bytes:
    return answers.gzip_bomb(min(size_mib, MOST_GZIP_MIB) * MIB)


def read_answer(data: bytes) -> bool:
    """Have it given to a delivery, an analysis and a pull: each ends in what can be told of it."""
    server, sender, analysis = _gateway()
    server.data = data
    pulled: list[Any] = []
    with TemporaryDirectory(prefix="fuzz-") as folder, suppress(CxrError):
        intake: Any = _Discarding(folder)
        pulled = list(pull_study(server.url, "1.2", intake, **PULLING))
    delivered = sender.send([SOURCE])
    analysed = analysis.analyse(SOURCE)
    if delivered is not None:
        assert delivered.reason
    if not isinstance(analysed, list):
        assert isinstance(analysed, TryAgain | GiveUp)
        assert analysed.reason
    return delivered is None or isinstance(analysed, list) or bool(pulled)


class _Discarding:
    """Takes the objects of a pulled study, reads their headers and keeps none."""

    def __init__(self, folder: str) -> None:
        self.spool = Spool(Path(folder), 0)

    def take(self, staged: Staged, channel: str) -> None:
        """Read the header; the caller ends the file."""
        with staged.reading() as file:
            read_header(file)


@cache
def _gateway() -> tuple[_Answering, StowSender, Analysis]:
    """Give what answers, and what asks it: a client takes longer to build than to use."""
    server = _Answering()
    sender = StowSender(Destination("fuzz", "stow", url=server.url), TIMEOUT_S)
    return server, sender, Analysis(server.url, TIMEOUT_S)


class _Answering(socketserver.ThreadingTCPServer):
    """Gives every request the same bytes."""

    daemon_threads, block_on_close = True, False
    allow_reuse_address = True

    def __init__(self) -> None:
        self.data = b""
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, args=(0.005,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """That a client hangs up is what it is here for."""


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, _Answering)
        length = 0
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        self.rfile.read(length)
        self.wfile.write(server.data)
        if POUR in server.data:
            for _ in range(POURED_BYTES // MIB):
                self.wfile.write(server.data[-MIB:])


ANSWERS = Family("answers", make_answer, read_answer, cpu_s=0.8, memory_bytes=64 * MIB)
"""For three answers, and for the thread here that gives them."""
