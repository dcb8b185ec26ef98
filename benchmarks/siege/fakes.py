"""A service, an archive and an identity provider on loopback that answer as they are told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from benchmarks.siege.made.dicom import element, part10
from benchmarks.siege.stow import (
    DICOM_JSON,
    SOP_INSTANCE,
    STUDY_INSTANCE,
    related,
    split,
    stored,
    uid_of,
)

SR, SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.7"


class Fake:
    """An HTTP server in threads of this process.

    Args:
        behave: Answers one request: gets its handler and its body.

    Attributes:
        port: Where it listens.
        headers: Of each request, in order.
    """

    def __init__(self, behave: Callable[[Exchange, bytes], None]) -> None:
        fake = self
        self.headers: list[dict[str, str]] = []
        self.over = threading.Event()

        class Handler(Exchange):
            def _serve(self) -> None:
                self.over = fake.over
                fake.headers.append({name.lower(): value for name, value in self.headers.items()})
                length = int(self.headers.get("content-length", "0"))
                with suppress(OSError):
                    behave(self, self.rfile.read(length))

            do_GET = do_POST = _serve  # noqa: N815 - the library's names

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: that clients hang up is what they are here for."""


class Exchange(BaseHTTPRequestHandler):
    """One connection, with the few ways in which fakes answer."""

    protocol_version = "HTTP/1.1"
    over: threading.Event

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def give(self, status: int, content: bytes, **headers: str) -> None:
        """Answer at once."""
        self.send_response(status)
        for name, value in {"Content_Type": DICOM_JSON, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def pour(self, pieces: Iterable[bytes], **headers: str) -> None:
        """Answer without saying how long it will be, until the client has had enough."""
        self.send_response(200)
        for name, value in {"Content_Type": DICOM_JSON, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for piece in pieces:
            if self.over.is_set():
                return
            self.wfile.write(piece)

    def trickle(self, content: bytes, every_s: float) -> None:
        """Answer a byte at a time."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        for number in range(len(content)):
            if self.over.wait(every_s):
                return
            self.wfile.write(content[number : number + 1])

    def hang(self) -> None:
        """Answer nothing as long as the fake is there."""
        self.over.wait()
        self.close_connection = True


def read_all(exchange: Exchange, body: bytes) -> None:
    """Be a service: an SR and an SC for each object, with UIDs that follow from its own."""
    instance, study = uid_of(body, SOP_INSTANCE), uid_of(body, STUDY_INSTANCE)
    made = []
    for number, sop_class in ((1, SR), (2, SECONDARY_CAPTURE)):
        uid = f"{instance[:60]}.{number}"
        made.append(
            part10(
                [
                    element(0x00080016, "UI", sop_class.encode()),
                    element(0x00080018, "UI", uid.encode()),
                    element(0x00080060, "CS", b"SR" if number == 1 else b"OT"),
                    element(0x0020000D, "UI", study.encode()),
                    element(0x0020000E, "UI", f"{study[:60]}.9".encode()),
                ],
                instance=uid,
            )
        )
    kind, content = related(made)
    exchange.give(200, content, Content_Type=kind)


class Archive(Fake):
    """An archive that stores everything and remembers which studies it has."""

    def __init__(self) -> None:
        self.studies: list[str] = []
        super().__init__(self._store)

    def _store(self, exchange: Exchange, body: bytes) -> None:
        objects = split(exchange.headers["content-type"], body)
        self.studies += [uid_of(one, STUDY_INSTANCE) for one in objects]
        exchange.give(200, stored(objects))
