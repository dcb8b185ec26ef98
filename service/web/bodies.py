"""Bodies and queries within bounds."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

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
from service.settings import AccessSettings

RETRY_AFTER_S = 1  # bodies are held until decoded, which takes well under a second

T = TypeVar("T")


class Lease:
    """One request's share of a :class:`BodyBudget`."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.held_bytes = 0

    def grow_to(self, size_bytes: int) -> None:
        """Hold at least this many bytes, or raise QueueFullError."""
        missing = size_bytes - self.held_bytes
        if missing > 0:
            if missing > self._budget.free_bytes:
                raise QueueFullError(
                    "Too many requests are being received. Try again later.", RETRY_AFTER_S
                )
            self._budget.free_bytes -= missing
            self.held_bytes += missing


class BodyBudget:
    """Memory for all bodies. Belongs to the event loop."""

    def __init__(self, capacity_bytes: int) -> None:
        self.free_bytes = capacity_bytes

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """Lend memory until the end."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            self.free_bytes += lease.held_bytes


@dataclass(frozen=True)
class BodyRate:
    """The slowest rate at which a body may arrive.

    Waiting uses up ``grace_s``, and bytes replenish it, but a fast start earns no longer pause.
    """

    grace_s: float
    bytes_per_s: float

    @classmethod
    def of(cls, settings: AccessSettings) -> BodyRate:
        """Return the configured rate."""
        return cls(settings.body_grace_s, settings.body_bytes_per_s)

    def too_slow(self) -> BodyTooSlowError:
        """Return the error."""
        return BodyTooSlowError(
            f"The body arrived too slowly: it paused for {self.grace_s:g} s, or stayed below "
            f"{self.bytes_per_s:g} bytes per second for longer. Send it faster, or in parts."
        )


def too_large(limit_bytes: int) -> PayloadTooLargeError:
    """Return the error."""
    return PayloadTooLargeError(
        f"The body is larger than the {limit_bytes} bytes accepted. Send fewer or smaller images."
    )


async def receive_body(
    request: Request,
    limit_bytes: int,
    rate: BodyRate,
    deadline: Deadline | None = None,
    clock: Clock = time.monotonic,
    *,
    lease: Lease | None = None,
) -> AsyncIterator[bytes]:
    """Receive a body piece by piece.

    Only waiting for the client counts for the rate. The lease, for bodies held in memory, grows
    with what arrived, not with what was declared.

    Raises:
        ServingError: The body is too large, too slow or cut off, or finds no memory.
    """
    declared = request.headers.get("content-length", "0")
    if not (declared.isascii() and declared.isdigit()):
        raise InvalidRequestError("The Content-Length header is not a number.")
    if int(declared) > limit_bytes:
        raise too_large(limit_bytes)
    received, left_s = 0, rate.grace_s
    stream = request.stream()
    while True:
        until_deadline_s = math.inf if deadline is None else deadline.remaining_s
        begun_s = clock()
        try:
            async with asyncio.timeout(min(left_s, until_deadline_s)):
                chunk = await anext(stream, None)
        except TimeoutError:
            if left_s < until_deadline_s:
                raise rate.too_slow() from None
            raise DeadlineExceededError(
                "The body did not arrive before the deadline. Send it faster, or in parts."
            ) from None
        except ClientDisconnect:
            raise ClientDisconnectedError("The client disconnected while sending.") from None
        if chunk is None:
            return
        received += len(chunk)
        if received > limit_bytes:
            raise too_large(limit_bytes)
        left_s = left_s - (clock() - begun_s) + len(chunk) / rate.bytes_per_s
        left_s = min(left_s, rate.grace_s)
        if left_s <= 0:
            raise rate.too_slow()
        if lease is not None:
            lease.grow_to(received)
        yield chunk


def verify_query(request: Request, *known: str) -> None:
    """Refuse unknown, empty and repeated parameters: a typo would change the answer."""
    given = [name for name, _ in request.query_params.multi_items()]
    if set(given) - set(known):
        raise InvalidRequestError(
            f"The query has an unknown parameter. Known are: {', '.join(known)}."
        )
    for name in known:
        if given.count(name) > 1:
            raise InvalidRequestError(f"The query parameter {name} is given more than once.")
        if request.query_params.get(name) == "":
            raise InvalidRequestError(
                f"The query parameter {name} is empty. Give a name, or leave it out."
            )


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await work that is cancelled if the client disconnects, once its body was received.

    Raises:
        ClientDisconnectedError: The client disconnected.
    """
    here, is_gone = asyncio.current_task(), False
    assert here is not None, "it is awaited in a task"

    async def watch() -> None:
        nonlocal is_gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        is_gone = True
        here.cancel()

    watching = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if not is_gone:
            raise
        here.uncancel()
        raise ClientDisconnectedError("The client disconnected before the answer.") from None
    finally:
        watching.cancel()
