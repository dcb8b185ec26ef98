"""A service and an archive for the gateway's tests: real HTTP on loopback, answers as told."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydicom import dcmread

from service.gateway.deliver.stow_answer import MEDIA_TYPE, Stored, build_stow_answer
from service.multipart import build_related, split_related
from tests.gateway.objects import make_results

Answer = tuple[int, dict[str, str], bytes]


class FakeServer:
    """An HTTP server on loopback that can be stopped and started on the same port."""

    def __init__(self) -> None:
        self.requests = 0
        self.script: Callable[[int], Answer | None] = lambda number: None
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the port it had before."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                fake._connections.append(self.connection)

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers.get("content-length", "0"))))

            def do_GET(self) -> None:
                self._answer(b"")

            def _answer(self, body: bytes) -> None:
                with fake._lock:
                    fake.requests += 1
                    told = fake.script(fake.requests)
                status, headers, content = told or fake.answer(self.path, self.headers, body)
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._connections.clear()
            self._server = None

    def answer(self, path: str, headers: Any, body: bytes) -> Answer:
        """Answer a request for which the script has nothing."""
        raise NotImplementedError


class FakeService(FakeServer):
    """Makes an SR and an SC of each object, the SR alone without a heatmap; UIDs follow from it."""

    def answer(self, path: str, headers: Any, body: bytes) -> Answer:
        """Answer a request for which the script has nothing."""
        ds = dcmread(io.BytesIO(body), stop_before_pixels=True)
        made = make_results(str(ds.SOPInstanceUID), str(ds.StudyInstanceUID))
        if path.startswith("/v1/predict"):
            assert headers["accept"] == "application/dicom"
            return 200, {"Content-Type": "application/dicom"}, made[0]
        assert path.startswith("/v1/explain")
        assert headers["accept"] == 'multipart/related; type="application/dicom"'
        content_type, content = build_related(made)
        return 200, {"Content-Type": content_type}, content


class FakeArchive(FakeServer):
    """Takes objects by STOW-RS and remembers each arrival; gives studies by WADO-RS."""

    def __init__(self) -> None:
        self.arrivals: list[str] = []
        self.objects: list[bytes] = []
        self.studies: dict[str, list[bytes]] = {}
        super().__init__()

    @property
    def counts(self) -> Counter[str]:
        """How often each instance arrived."""
        return Counter(self.arrivals)

    def answer(self, path: str, headers: Any, body: bytes) -> Answer:
        """Answer a request for which the script has nothing."""
        if not body:
            assert headers["accept"].endswith("transfer-syntax=*")
            found = self.studies.get(path.rpartition("/")[2])
            if found is None:
                return 404, {}, b""
            content_type, content = build_related(found)
            return 200, {"Content-Type": content_type}, content
        stored, parts = [], split_related(headers["content-type"], body)
        for part in parts:
            ds = dcmread(io.BytesIO(part), stop_before_pixels=True)
            stored.append(Stored(str(ds.SOPClassUID), str(ds.SOPInstanceUID)))
        with self._lock:
            self.arrivals += [one.sop_instance_uid for one in stored]
            self.objects += parts
        content = json.dumps(build_stow_answer(stored, [])).encode()
        return 200, {"Content-Type": MEDIA_TYPE}, content


class Hanging:
    """Takes every connection, says so much, and no more until it is stopped."""

    def __init__(self, says: bytes = b"") -> None:
        self._says = says
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def connections(self) -> int:
        """How many were taken."""
        return len(self._held)

    def _run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._held.append(connection)
                connection.sendall(self._says)

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for connection in self._held:
            connection.close()


def problem(status: int, slug: str, **headers: str) -> Answer:
    """Give the service's answer to a request it refuses."""
    told = {
        "type": f"/docs/problems#{slug}",
        "title": slug,
        "status": status,
        "detail": "No.",
        "request_id": "x",
    }
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return (
        status,
        {"Content-Type": "application/problem+json", **given},
        json.dumps(told).encode(),
    )
