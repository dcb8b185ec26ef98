"""Connections whose waits end with their exchange's deadline.

httpx's timeouts bound each wait, not the sum. Relies on private names of httpx, which a test
checks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

PIECE_BYTES = 65_536  # of what is sent between two looks at the clock

_end_s: ContextVar[float] = ContextVar("end of the present exchange", default=math.inf)


@contextmanager
def ending_within(timeout_s: float) -> Iterator[None]:
    """Set this thread's deadline on timed connections."""
    before_s = _end_s.get()
    _end_s.set(time.monotonic() + timeout_s)
    try:
        yield
    finally:
        _end_s.set(before_s)


def is_over() -> bool:
    """Whether the current exchange's deadline has passed."""
    return time.monotonic() >= _end_s.get()


def time_connections(client: httpx.Client) -> None:
    """Make a new client's connections observe the deadline."""
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx.HTTPTransport):
            pool = transport._pool
            pool._network_backend = _TimedBackend(pool._network_backend)


def _left_s(timeout: float | None, error: type[httpcore.TimeoutException]) -> float | None:
    left_s = _end_s.get() - time.monotonic()
    if left_s <= 0:
        raise error("The exchange did not end in time.")
    return timeout if math.isinf(left_s) else left_s if timeout is None else min(timeout, left_s)


class _TimedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left_s(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for begin in range(0, len(buffer), PIECE_BYTES):
            left_s = _left_s(timeout, httpcore.WriteTimeout)
            self._stream.write(buffer[begin : begin + PIECE_BYTES], left_s)

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        options["timeout"] = _left_s(options.get("timeout"), httpcore.ConnectTimeout)
        return _TimedStream(self._stream.start_tls(*args, **options))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _TimedBackend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        options["timeout"] = _left_s(options.get("timeout"), httpcore.ConnectTimeout)
        return _TimedStream(self._backend.connect_tcp(*args, **options))

    def connect_unix_socket(self, *args: Any, **options: Any) -> httpcore.NetworkStream:
        options["timeout"] = _left_s(options.get("timeout"), httpcore.ConnectTimeout)
        return _TimedStream(self._backend.connect_unix_socket(*args, **options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)
