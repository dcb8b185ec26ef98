"""uvicorn's HTTP protocol on httptools, bounded in size and time."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.telemetry.logs import log_event
from service.web.problems import INVALID_REQUEST, MEDIA_TYPE, build_problem
from service.web.requests import NO_STORE, SECURITY_HEADERS

MAX_HEAD_BYTES = 65_536
"""Of a head, and of all that is neither head nor body: trailers, lines between chunks."""

HEAD_TIMEOUT_S = 15.0
"""From the first byte of a request, or the opening of a connection, to the end of its head."""

MAX_PIPELINED = 64
"""Requests that may wait behind another on one connection (RFC 9112, 9.3.2)."""

LINGER_S = 10.0
"""From the answer to the end of a body that nobody reads any more. Closed at once, the connection
would be reset, and the client might never see why it was refused (RFC 9112, 9.6)."""

MALFORMED = "The connection did not carry a well-formed HTTP/1.1 request. Check the client."
TOO_LONG = (
    "The head of the request, or the trailers and chunk sizes around its body, are longer than "
    f"{MAX_HEAD_BYTES} bytes. Send fewer headers, and no trailers."
)
SAFE = "".join(
    f"{name.lower()}: {value}\r\n"
    for name, value in (*SECURITY_HEADERS.items(), ("cache-control", NO_STORE))
)
REASONS = {400: "Bad Request", 431: "Request Header Fields Too Large"}


class GuardedProtocol(HttpToolsProtocol):
    """Bounds heads, trailers and idle time, and answers malformed requests with problems.

    uvicorn does neither, and leaves the body of an upgrade unread.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._surrounding_bytes = 0
        self._in_body = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._close_in(HEAD_TIMEOUT_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._keep_open()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data. All that is not body is bounded."""
        self._unset_keepalive_if_required()
        if not self._in_body and self._timer is None:
            self._close_in(HEAD_TIMEOUT_S)
        self._surrounding_bytes += len(data)
        try:
            self._parse(memoryview(data))
        except httptools.HttpParserError:
            self.send_400_response(MALFORMED)
            return
        if self._surrounding_bytes > MAX_HEAD_BYTES:
            self._refuse(431, TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. Trailers are dropped: access is settled by then."""
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the body."""
        if self.parser.should_upgrade():
            return  # it is read again
        if len(self.pipeline) >= MAX_PIPELINED:
            raise httptools.HttpParserError  # what was asked before is answered, and no more read
        self._in_body, self._surrounding_bytes = True, 0
        self._keep_open()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of the body."""
        self._surrounding_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for the next request."""
        if self.parser.should_upgrade():
            return
        self._in_body, self._surrounding_bytes = False, 0
        self._keep_open()
        super().on_message_complete()
        if self.cycle.response_complete and not self.transport.is_closing():
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """Drop the rest of the body, for a limited time."""
        super().on_response_complete()
        if self.pipeline:
            self.flow.pause_reading()  # or the queue would only grow
        if self._in_body and self.cycle.response_complete:
            self._close_in(LINGER_S)

    def send_400_response(self, msg: str) -> None:
        """Answer with a problem, without the parser's words."""
        self._refuse(400, MALFORMED)

    def _parse(self, rest: memoryview) -> None:
        """Feed the parser, ignoring requests for an upgrade (RFC 9110, 7.8).

        The parser stops at the body of one: the head goes in again without the upgrade, then the
        rest. CONNECT raises HttpParserError.
        """
        while True:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                method, version = self.parser.get_method(), self.parser.get_http_version()
                if method == b"CONNECT":
                    raise httptools.HttpParserError from None
                lines = [b"%b %b HTTP/%b" % (method, self.url, version.encode())]
                lines += [b"%b: %b" % one for one in self.headers if one[0] != b"upgrade"]
                # The old one takes the connection for another protocol's from here on.
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                self.parser.feed_data(b"\r\n".join([*lines, b"", b""]))
                rest = rest[upgrade.args[0] :]
            else:
                return

    def _refuse(self, status: int, detail: str) -> None:
        if self.transport.is_closing():
            return
        cycle = self.cycle
        is_asked = cycle is not None and not cycle.response_complete
        if is_asked and not self._in_body:
            # The answers to earlier requests come first, and are the last ones.
            cycle.keep_alive = False
            return
        if is_asked:
            cycle.disconnected = True
            cycle.message_event.set()
        # Between or after the bytes of another answer a refusal would be taken for its part.
        if not self.pipeline and not (self._in_body and cycle.response_started):
            self.transport.write(_build_refusal(status, detail))
        self.transport.close()

    def _close_in(self, delay_s: float) -> None:
        self._keep_open()
        self._timer = self.loop.call_later(delay_s, self._give_up)

    def _keep_open(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        self.transport.close()


def _build_refusal(status: int, detail: str) -> bytes:
    request_id = secrets.token_hex(8)
    problem = build_problem(INVALID_REQUEST, detail, request_id).model_dump()
    body = json.dumps(problem | {"status": status}).encode()
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: {MEDIA_TYPE}\r\n"
        f"content-length: {len(body)}\r\nx-request-id: {request_id}\r\n"
        f"server-timing: total;dur=0.0\r\nconnection: close\r\n{SAFE}\r\n"
    )
    outcome = INVALID_REQUEST.slug
    log_event(logging.INFO, "refused", status=status, outcome=outcome, request_id=request_id)
    return head.encode() + body
