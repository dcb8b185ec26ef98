"""Servers that answer with more, longer or otherwise than anybody expects. Loopback only."""

from __future__ import annotations

import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

KEPT = "kept"
"""Returned by an answer that leaves its connection for another request."""

Answer = Callable[[socket.socket], Any]

ENDLESS_BYTES = 512 * 1024 * 1024
"""More than any reader here takes; who read it all would be found out by what was sent."""

TRICKLE_S, LONGEST_S = 0.02, 10.0
BIT = b"x" * 65_536


class HostileServer:
    """Answers every request in one way.

    Args:
        answer: Writes it to a connection.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.heads: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while self._take_request(connection) and self._answer(connection) is KEPT:
                continue

    def _take_request(self, connection: socket.socket) -> bool:
        received = b""
        while b"\r\n\r\n" not in received:
            if not (piece := connection.recv(65_536)):
                return False
            received += piece
        head, _, body = received.lower().partition(b"\r\n\r\n")
        self.heads.append(head)
        for line in head.split(b"\r\n"):
            if line.startswith(b"content-length:"):
                left = int(line.partition(b":")[2]) - len(body)
                while left > 0:
                    left -= len(connection.recv(65_536))
        return True

    def close(self) -> None:
        """Close everything."""
        self._listener.close()
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(answer: Answer) -> Iterator[HostileServer]:
    """Serve until the end of the block."""
    server = HostileServer(answer)
    try:
        yield server
    finally:
        server.close()


def whole(content: bytes, status: int = 200, **headers: str) -> Answer:
    """Answer as a friendly server does."""
    told = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"HTTP/1.1 {status} X\r\n{told}Content-Length: {len(content)}\r\n\r\n".encode("latin-1")

    def answer(connection: socket.socket) -> str:
        connection.sendall(head + content)
        return KEPT

    return answer


def _endless(head: bytes, piece: bytes, pause_s: float = 0.0) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        sent = 0
        end_s = time.monotonic() + LONGEST_S
        while sent < ENDLESS_BYTES and time.monotonic() < end_s:
            connection.sendall(piece)
            sent += len(piece)
            if pause_s:
                time.sleep(pause_s)

    return answer


def squeeze(zeros: int = 64 * 1024 * 1024) -> bytes:
    """Give many zeros in few bytes of gzip."""
    return gzip.compress(bytes(zeros), 9)


OK = b'HTTP/1.1 200 OK\r\nContent-Type: multipart/related; type="application/dicom"; boundary=b\r\n'
PART = b"--b\r\n\r\n"
"""What a reader of objects goes on with; for others it is as good as anything."""

PLAIN = OK + b"\r\n" + PART
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n7\r\n" + PART + b"\r\n"

TOO_LARGE: dict[str, Answer] = {
    "endless": _endless(PLAIN, BIT),
    "endless chunks": _endless(CHUNKED, b"10000\r\n" + BIT + b"\r\n"),
    "declared": _endless(OK + b"Content-Length: 3221225472\r\n\r\n" + PART, BIT),
}
FRAGMENTED: dict[str, Answer] = {"chunks of a byte": _endless(CHUNKED, b"1\r\nx\r\n" * 4096)}
ENCODED: dict[str, Answer] = {
    "gzip": whole(squeeze(), Content_Encoding="gzip"),
    "deflate": whole(zlib.compress(bytes(1 << 26), 9), Content_Encoding="deflate"),
    "brotli": whole(
        b"\xcf\xff\xff\x7f\xf8\x27\x00\xe2\xb1\x40\x20\xf7\xfe" * 9, Content_Encoding="br"
    ),
    "zstd": whole(b"\x28\xb5\x2f\xfd\x00\x00", Content_Encoding="zstd"),
    "twice": whole(gzip.compress(squeeze()), Content_Encoding="gzip, gzip"),
    "unknown": whole(b"{}", Content_Encoding="compress"),
}
NEVER_DONE: dict[str, Answer] = {
    "silence": lambda connection: time.sleep(LONGEST_S),
    "trickled body": _endless(PLAIN, b" ", TRICKLE_S),
    "trickled chunks": _endless(CHUNKED, b"1\r\n \r\n", TRICKLE_S),
    "trickled head": _endless(b"HTTP/1.1 200 OK\r\nX: ", b"x", TRICKLE_S),
    "informational for ever": _endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", TRICKLE_S),
    "trickled trailers": _endless(CHUNKED + b"0\r\nX: ", b"x", TRICKLE_S),
}
BROKEN: dict[str, Answer] = {
    "closed": lambda connection: None,
    "no HTTP": lambda connection: connection.sendall(b"\x16\x03\x01 what?\r\n\r\n"),
    "cut off": lambda connection: connection.sendall(OK + b"Content-Length: 100\r\n\r\nx"),
    "endless head": _endless(b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 65_000 + b"\r\n"),
    "two lengths": whole(b"{}", Content_length="3"),
    "negative length": lambda connection: connection.sendall(OK + b"Content-Length: -1\r\n\r\n"),
}
