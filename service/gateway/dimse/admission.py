"""Admission of associations.

In pynetdicom a silent TLS handshake blocks all peers, and a connection costs two polling
threads; here it costs a socket until its request is complete.
"""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, TypeAlias

from service.deadline import Clock
from service.gateway.dimse.association_request import (
    ABORT,
    HEADER,
    MalformedRequestError,
    read_header,
)
from service.telemetry.logs import log_event

BACKLOG = 128
LONGEST_WAIT_S = 0.5
AFTER_FAILURE_S = 0.1  # while no socket can be opened
CHUNK_BYTES = 65_536

Admit: TypeAlias = Callable[[socket.socket, tuple[str, int], bytes], None]
"""Gets a connection, the peer's address and the association request."""

Reason: TypeAlias = Literal["late", "crowded", "malformed", "no-tls"]
"""Why a connection was closed before its association request was complete."""

WOULD_WAIT = (BlockingIOError, ssl.SSLWantReadError)


class PendingConnection:
    """A non-blocking connection with an incomplete request."""

    def __init__(self, connection: socket.socket, address: tuple[str, int], until_s: float) -> None:
        self.connection = connection
        self.address = address
        self.until_s = until_s
        self._is_greeted = not isinstance(connection, ssl.SSLSocket)
        self._received = bytearray()
        self._wanted = HEADER.size

    def read(self) -> bytes:
        """Return the request, or raise one of ``WOULD_WAIT``."""
        if not self._is_greeted:
            assert isinstance(self.connection, ssl.SSLSocket)
            self.connection.do_handshake()
            self._is_greeted = True
        while len(self._received) < self._wanted:
            left = self._wanted - len(self._received)
            piece = self.connection.recv(min(left, CHUNK_BYTES))
            if not piece:
                raise ConnectionResetError
            self._received += piece
            if len(self._received) == HEADER.size:
                self._wanted += read_header(self._received)
        return bytes(self._received)


class AssociationAdmission:
    """Waits for association requests on many connections. One thread.

    Beyond the limit, the oldest connection of the busiest address is closed.
    """

    def __init__(
        self,
        listener: socket.socket,
        tls: ssl.SSLContext | None,
        admit: Admit,
        *,
        most: int,
        timeout_s: float,
        on_closed: Callable[[Reason], object],
        clock: Clock = time.monotonic,
    ) -> None:
        listener.setblocking(False)
        listener.listen(BACKLOG)
        self._listener = listener
        self._tls = tls
        self._admit = admit
        self._most = most
        self._timeout_s = timeout_s
        self._on_closed = on_closed
        self._clock = clock
        self._is_closing = threading.Event()
        self._waiting: dict[int, PendingConnection] = {}  # by file descriptor, oldest first
        self._by_host: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until closed."""
        while not self._is_closing.is_set():
            self.turn(LONGEST_WAIT_S)
        for pending in list(self._waiting.values()):
            self._leave(pending).close()
        self._selector.close()

    def close(self) -> None:
        """End :meth:`run` within half a second. Any thread."""
        self._is_closing.set()

    def turn(self, longest_s: float) -> None:
        """Wait for events and handle them."""
        oldest = next(iter(self._waiting.values()), None)
        if oldest is not None:
            longest_s = max(0.0, min(longest_s, oldest.until_s - self._clock()))
        for key, _ in self._selector.select(longest_s):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fd in self._waiting:  # not closed meanwhile to make room
                self._serve(self._waiting[key.fd])
        now_s = self._clock()
        for pending in list(self._waiting.values()):
            if pending.until_s > now_s:
                break
            self._close(pending, "late")

    def _accept(self) -> None:
        for _ in range(BACKLOG):
            try:
                connection, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # the peer is gone, or too many files are open
                log_event(logging.ERROR, "connection not accepted", error)
                self._is_closing.wait(AFTER_FAILURE_S)
                return
            try:
                connection.setblocking(False)
                if self._tls is not None:
                    connection = self._tls.wrap_socket(
                        connection, server_side=True, do_handshake_on_connect=False
                    )
            except OSError:  # the peer closed it
                connection.close()
                continue
            if len(self._waiting) >= self._most:
                self._make_room()
            pending = PendingConnection(connection, address, self._clock() + self._timeout_s)
            self._waiting[connection.fileno()] = pending
            self._by_host[address[0]] += 1
            self._selector.register(connection, selectors.EVENT_READ)

    def _make_room(self) -> None:
        [(host, _)] = self._by_host.most_common(1)
        oldest = next(one for one in self._waiting.values() if one.address[0] == host)
        self._close(oldest, "crowded")

    def _serve(self, pending: PendingConnection) -> None:
        try:
            request = pending.read()
        except WOULD_WAIT:
            self._selector.modify(pending.connection, selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._selector.modify(pending.connection, selectors.EVENT_WRITE)
        except ssl.SSLError:
            self._close(pending, "no-tls")
        except OSError:  # the peer closed it
            self._leave(pending).close()
        except MalformedRequestError:
            self._close(pending, "malformed")
        else:
            connection = self._leave(pending)
            try:
                self._admit(connection, pending.address, request)
            except MalformedRequestError:
                self._hang_up(connection, "malformed")
            except Exception as error:  # depends on what was sent
                log_event(logging.ERROR, "association not begun", error)
                connection.close()

    def _close(self, pending: PendingConnection, reason: Reason) -> None:
        self._hang_up(self._leave(pending), reason)

    def _hang_up(self, connection: socket.socket, reason: Reason) -> None:
        if reason == "malformed":
            with suppress(OSError):
                connection.send(ABORT)
        connection.close()
        self._on_closed(reason)

    def _leave(self, pending: PendingConnection) -> socket.socket:
        connection = pending.connection
        self._selector.unregister(connection)
        del self._waiting[connection.fileno()]
        self._by_host -= Counter([pending.address[0]])
        return connection
