"""Request bodies, read in bounds."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from starlette.requests import ClientDisconnect, Request

from service.deadline import Clock, Deadline
from service.errors import (
    BodyTooSlowError,
    ClientDisconnectedError,
    DeadlineExceededError,
    InvalidRequestError,
    PayloadTooLargeError,
    QueueFullError,
)
from service.web.body_rate import BodyRate, Patience

RETRY_AFTER_S = 1  # bodies are held until decoded, which takes well under a second


class Lease:
    """The share of one request in a :class:`BodyBudget`."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.held_bytes = 0

    def grow_to(self, size_bytes: int) -> None:
        """Hold at least this many bytes.

        Raises:
            QueueFullError: The budget is used up.
        """
        missing = size_bytes - self.held_bytes
        if missing > 0:
            self._budget.take(missing)
            self.held_bytes += missing


class BodyBudget:
    """Bytes that all bodies together may hold in memory. Belongs to the event loop.

    Args:
        capacity_bytes: Free at first.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.free_bytes = capacity_bytes

    def take(self, count: int) -> None:
        """Take bytes out.

        Raises:
            QueueFullError: There are not that many.
        """
        if count > self.free_bytes:
            raise QueueFullError(
                "Too many requests are being received. Try again later.", RETRY_AFTER_S
            )
        self.free_bytes -= count

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """Give a lease that is given back at the end."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            self.free_bytes += lease.held_bytes


def declared_length(request: Request, limit_bytes: int) -> int:
    """Give the Content-Length, 0 if there is none. Nothing of the body is read.

    Raises:
        InvalidRequestError: It is not a number.
        PayloadTooLargeError: It is over the limit.
    """
    text = request.headers.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise InvalidRequestError("The Content-Length header is not a number.")
    length = int(text)
    if length > limit_bytes:
        raise too_large(limit_bytes)
    return length


def too_slow(rate: BodyRate) -> BodyTooSlowError:
    """Give the error of a body below the rate."""
    return BodyTooSlowError(
        f"The body came too slowly: it paused for {rate.grace_s:g} s, or brought less than "
        f"{rate.bytes_per_s:g} bytes a second for longer. Send it faster, or in parts."
    )


def too_large(limit_bytes: int) -> PayloadTooLargeError:
    """Give the error of a body over the limit."""
    return PayloadTooLargeError(
        f"The body is larger than the {limit_bytes} bytes accepted. Send fewer or smaller images."
    )


async def receive_body(
    request: Request,
    limit_bytes: int,
    rate: BodyRate,
    deadline: Deadline | None = None,
    clock: Clock = time.monotonic,
) -> AsyncIterator[bytes]:
    """Receive a body piece by piece.

    Args:
        request: The request.
        limit_bytes: Largest body accepted.
        rate: Slowest rate accepted. Time is taken for the sender, not while a piece is worked on.
        deadline: Until then the whole body must have come; None for any time.
        clock: Gives seconds.

    Raises:
        InvalidRequestError: The Content-Length is not a number.
        PayloadTooLargeError: The body is over the limit.
        BodyTooSlowError: It came too slowly.
        DeadlineExceededError: It did not come before the deadline.
        ClientDisconnectedError: The client went away.
    """
    declared_length(request, limit_bytes)
    received, patience = 0, Patience(rate)
    stream = request.stream()
    while True:
        until_deadline_s = math.inf if deadline is None else deadline.remaining_s
        begun_s = clock()
        try:
            async with asyncio.timeout(min(patience.left_s, until_deadline_s)):
                chunk = await anext(stream, None)
        except TimeoutError:
            if patience.left_s < until_deadline_s:
                raise too_slow(rate) from None
            raise DeadlineExceededError(
                "The body did not arrive before the deadline. Send it faster, or in parts."
            ) from None
        except ClientDisconnect:
            raise ClientDisconnectedError("The client went away while it was sending.") from None
        if chunk is None:
            return
        received += len(chunk)
        if received > limit_bytes:
            raise too_large(limit_bytes)
        patience.note(len(chunk), clock() - begun_s)
        if patience.left_s <= 0:
            raise too_slow(rate)
        yield chunk


async def read_chunks(
    request: Request, limit_bytes: int, lease: Lease, deadline: Deadline, rate: BodyRate
) -> AsyncIterator[bytes]:
    """Receive a body that is held in memory.

    The lease grows with what arrived: what a client merely declares takes nothing from others.

    Args:
        request: The request.
        limit_bytes: Largest body accepted.
        lease: Grows with what was received.
        deadline: Of the request.
        rate: Slowest rate accepted.

    Raises:
        QueueFullError: Bodies of other requests take up all memory set aside.
        ServingError: As :func:`receive_body`.
    """
    received = 0
    async for chunk in receive_body(request, limit_bytes, rate, deadline):
        received += len(chunk)
        lease.grow_to(received)
        yield chunk
