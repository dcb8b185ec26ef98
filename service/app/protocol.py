"""HTTP on a connection: uvicorn's protocol on httptools, with bounds on the head of a request."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.problems import INVALID_REQUEST, MEDIA_TYPE, build_problem
from service.http.request_id import choose_request_id
from service.http.security_headers import NO_STORE, SECURITY_HEADERS
from service.telemetry.logs import log_event

MAX_HEAD_BYTES = 65_536
HEAD_TIMEOUT_S = 15.0
"""From the first byte of a request, or the opening of a connection, to the end of its head."""

MALFORMED = "The connection did not carry a well-formed HTTP/1.1 request. Check the client."
TOO_LONG = f"The head of the request is longer than {MAX_HEAD_BYTES} bytes. Send fewer headers."
SAFE = "".join(
    f"{name.lower()}: {value}\r\n"
    for name, value in (*SECURITY_HEADERS.items(), ("cache-control", NO_STORE))
)
REASONS = {400: "Bad Request", 431: "Request Header Fields Too Large"}


class GuardedProtocol(HttpToolsProtocol):
    """Refuses heads that are too long, drops those that never end, and answers with problems.

    uvicorn itself bounds neither on this parser: whoever sends a head forever would hold
    memory and a connection forever.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._head_bytes = 0
        self._in_body = False
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._unwatch_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; a head that is still open may only grow so long."""
        if not self._in_body:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._watch_head()
        super().data_received(data)
        if not self._in_body and self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(431, TOO_LONG)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_body, self._head_bytes = True, 0
        self._unwatch_head()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What follows is the head of another request."""
        self._in_body = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP with a problem; the parser's own words are left out."""
        self._refuse(400, MALFORMED)

    def _refuse(self, status: int, detail: str) -> None:
        if self.transport.is_closing():
            return
        request_id = choose_request_id(None)
        problem = build_problem(INVALID_REQUEST, detail, request_id).model_dump()
        body = json.dumps(problem | {"status": status}).encode()
        head = (
            f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\n"
            f"server-timing: total;dur=0.0\r\nconnection: close\r\n{SAFE}\r\n"
        )
        outcome = INVALID_REQUEST.slug
        log_event(logging.INFO, "refused", status=status, outcome=outcome, request_id=request_id)
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _watch_head(self) -> None:
        loop = asyncio.get_running_loop()
        self._head_timer = loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _unwatch_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        self.transport.close()
