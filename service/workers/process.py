"""A worker: does one job at a time for the service, until that goes away.

``python -m service.workers FD`` is given one end of a socket pair.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from cxr.errors import CxrError
from service.allocator import keep_freed_memory
from service.errors import Failure
from service.scheduling.priority import lower_priority
from service.telemetry.logs import configure_logging, log_event
from service.telemetry.timeline import identified
from service.workers.codec import encode
from service.workers.messages import (
    MessageError,
    Order,
    Outcome,
    receive,
    send,
    unpack,
)

PR_SET_PDEATHSIG = 1  # prctl(2)


def is_there() -> bool:
    """Return True, by which a worker says that it has started."""
    return True


class Process:
    """What a worker does with the orders it gets."""

    def __init__(self, connection: socket.socket, slots: Sequence[int]) -> None:
        self._connection = connection
        self._slots = slots
        self._sending = threading.Lock()
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="aside", initializer=lower_priority)

    def work(self) -> None:
        """Do what is asked until nobody asks any more."""
        while (parts := receive(self._connection, self._slots)) is not None:
            try:
                order = unpack(parts)
            except Exception as error:  # what it is about is not here any more
                log_event(logging.ERROR, "order not understood", error)
                return
            del parts
            assert isinstance(order, Order), "the service sends orders"
            if order.aside:
                self._aside.submit(self._do, order)
            else:
                self._do(order)
            del order  # while it waits it must not hold what it worked on

    def _do(self, order: Order) -> None:
        with identified(order.identity):
            try:
                parts = encode(Outcome(order.number, order.job()))
            except CxrError as error:  # whoever waits for it is told
                parts = encode(Outcome(order.number, failure=Failure.of(error)))
            except MemoryError:
                parts = encode(Outcome(order.number, fault="memory"))
            except Exception as error:
                log_event(logging.ERROR, "unexpected error", error)
                parts = encode(Outcome(order.number, fault="other"))
        with self._sending:
            send(self._connection, parts)


def main(arguments: list[str]) -> int:
    """Work for whoever holds the other end of the socket."""
    number, level, priority, *slots = arguments
    if priority == "low":
        lower_priority()  # threads begun later inherit it
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Ctrl-C and SIGTERM go to the whole group: the service finishes what it accepted, with us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    configure_logging(level)
    keep_freed_memory()
    connection = socket.socket(fileno=int(number))
    with suppress(OSError, MessageError):  # the service went away
        Process(connection, [int(slot) for slot in slots]).work()
    os._exit(0)  # whatever goes on beside
