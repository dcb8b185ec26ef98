"""Where connections wait until they have asked for an association.

pynetdicom makes TLS handshakes where it accepts, so that one peer that says nothing keeps everybody
out, and gives each connection two threads that look a thousand times a second. Here a connection
costs a socket until its request is whole.
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
LONGEST_LOOK_S = 0.5
AFTER_FAILURE_S = 0.1  # while there is no room for another socket
CHUNK_BYTES = 65_536

Enter: TypeAlias = Callable[[socket.socket, tuple[str, int], bytes], None]
"""Is given a connection, its address and its association request."""

Reason: TypeAlias = Literal["late", "crowded", "malformed", "no-tls"]
"""Why a connection was closed that had not asked for an association in full."""

WOULD_WAIT = (BlockingIOError, ssl.SSLWantReadError)


class Arrival:
    """A connection that has not asked for an association yet.

    Args:
        connection: Its socket, which never blocks.
        address: The peer's.
        until_s: When its time is over.
    """

    def __init__(self, connection: socket.socket, address: tuple[str, int], until_s: float) -> None:
        self.connection = connection
        self.address = address
        self.until_s = until_s
        self._is_greeted = not isinstance(connection, ssl.SSLSocket)
        self._received = bytearray()
        self._wanted = HEADER.size

    def read(self) -> bytes:
        """Go on with the handshake and the request as far as it came; give the request.

        Raises:
            BlockingIOError: More has to come; of TLS ``SSLWantReadError``, or
                ``SSLWantWriteError`` where more has to go.
            OSError: The peer hung up, or speaks no TLS.
            MalformedRequestError: What comes is no request.
        """
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


class Door:
    """Lets in who asks for an association, whoever else stands there and says nothing. One thread.

    Args:
        listener: A socket that listens.
        tls: How connections are secured; None for not at all.
        enter: Takes a connection that has asked. What it raises closes the connection.
        most: Connections that may wait. For one more the oldest of the address with the most
            of them is closed: who is quick gets in.
        timeout_s: Time a connection has to ask, its handshake included.
        on_closed: Told why a connection was closed.
        clock: Gives seconds.
    """

    def __init__(
        self,
        listener: socket.socket,
        tls: ssl.SSLContext | None,
        enter: Enter,
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
        self._enter = enter
        self._most = most
        self._timeout_s = timeout_s
        self._on_closed = on_closed
        self._clock = clock
        self._is_closing = threading.Event()
        self._waiting: dict[int, Arrival] = {}  # by number of the socket; the oldest first
        self._by_host: Counter[str] = Counter()
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve until told to close."""
        while not self._is_closing.is_set():
            self.turn(LONGEST_LOOK_S)
        for arrival in list(self._waiting.values()):
            self._leave(arrival).close()
        self._selector.close()

    def close(self) -> None:
        """End :meth:`run`, within half a second. Any thread."""
        self._is_closing.set()

    def turn(self, longest_s: float) -> None:
        """Wait until something happens, and serve it."""
        oldest = next(iter(self._waiting.values()), None)
        if oldest is not None:
            longest_s = max(0.0, min(longest_s, oldest.until_s - self._clock()))
        for key, _ in self._selector.select(longest_s):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fd in self._waiting:  # and was not closed for another meanwhile
                self._serve(self._waiting[key.fd])
        now_s = self._clock()
        for arrival in list(self._waiting.values()):
            if arrival.until_s > now_s:
                break
            self._close(arrival, "late")

    def _accept(self) -> None:
        for _ in range(BACKLOG):
            try:
                connection, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # the peer is gone already, or there are too many files
                log_event(logging.ERROR, "connection not accepted", error)
                self._is_closing.wait(AFTER_FAILURE_S)
                return
            try:
                connection.setblocking(False)
                if self._tls is not None:
                    connection = self._tls.wrap_socket(
                        connection, server_side=True, do_handshake_on_connect=False
                    )
            except OSError:  # it hung up
                connection.close()
                continue
            if len(self._waiting) >= self._most:
                self._make_room()
            arrival = Arrival(connection, address, self._clock() + self._timeout_s)
            self._waiting[connection.fileno()] = arrival
            self._by_host[address[0]] += 1
            self._selector.register(connection, selectors.EVENT_READ)

    def _make_room(self) -> None:
        [(host, _)] = self._by_host.most_common(1)
        oldest = next(one for one in self._waiting.values() if one.address[0] == host)
        self._close(oldest, "crowded")

    def _serve(self, arrival: Arrival) -> None:
        try:
            request = arrival.read()
        except WOULD_WAIT:
            self._selector.modify(arrival.connection, selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._selector.modify(arrival.connection, selectors.EVENT_WRITE)
        except ssl.SSLError:
            self._close(arrival, "no-tls")
        except OSError:  # it hung up
            self._leave(arrival).close()
        except MalformedRequestError:
            self._close(arrival, "malformed")
        else:
            connection = self._leave(arrival)
            try:
                self._enter(connection, arrival.address, request)
            except MalformedRequestError:
                self._hang_up(connection, "malformed")
            except Exception as error:  # of whatever was sent: the door stays open
                log_event(logging.ERROR, "association not begun", error)
                connection.close()

    def _close(self, arrival: Arrival, reason: Reason) -> None:
        self._hang_up(self._leave(arrival), reason)

    def _hang_up(self, connection: socket.socket, reason: Reason) -> None:
        if reason == "malformed":
            with suppress(OSError):
                connection.send(ABORT)
        connection.close()
        self._on_closed(reason)

    def _leave(self, arrival: Arrival) -> socket.socket:
        """Let a connection wait no longer."""
        connection = arrival.connection
        self._selector.unregister(connection)
        del self._waiting[connection.fileno()]
        self._by_host -= Counter([arrival.address[0]])
        return connection
