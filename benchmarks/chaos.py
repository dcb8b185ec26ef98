"""Clients that misbehave, and what an honest service owes each of them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from benchmarks.connection import HEAD_END, Connection, Target, build_request

UNREADABLE = frozenset({400, 413, 415, 422})
"""What a body that is no image is answered with: it is the client's fault, and said so."""

CHUNKS = 12
SLOWEST_PAUSE_S = 0.25
ENTITY_HEAD = "Content-Type: application/octet-stream\r\n"


@dataclass(frozen=True)
class Outcome:
    """What became of one misbehaviour.

    Attributes:
        status: HTTP status, None if the client did not wait for one.
        body: Of the answer.
        file: Index of the file, if it was a whole one.
    """

    status: int | None
    body: bytes = b""
    file: int | None = None


@dataclass(frozen=True)
class Client:
    """What a misbehaving client has at hand.

    Attributes:
        target: Where the service is.
        files: Bodies that are images.
        chance: Decides what it does.
    """

    target: Target
    files: list[bytes]
    chance: random.Random

    def pick(self) -> int:
        """Choose a file."""
        return self.chance.randrange(len(self.files))


async def leave_while_sending(client: Client) -> Outcome:
    """Promise a body, send a part, and go."""
    request = build_request(client.target, client.files[client.pick()])
    connection = await Connection.open(client.target)
    connection.write(request[: client.chance.randrange(1, len(request))])
    await asyncio.sleep(client.chance.uniform(0, 0.05))
    connection.close()
    return Outcome(None)


async def leave_while_waiting(client: Client) -> Outcome:
    """Send everything, and go before the answer."""
    connection = await Connection.open(client.target)
    connection.write(build_request(client.target, client.files[client.pick()]))
    await asyncio.sleep(client.chance.uniform(0, 0.1))
    connection.close()
    return Outcome(None)


async def send_truncated(client: Client) -> Outcome:
    """Send half of a file as if it were whole."""
    body = client.files[client.pick()]
    return await _ask(client, body[: len(body) // 2])


async def send_noise(client: Client) -> Outcome:
    """Send what is no image at all."""
    return await _ask(client, client.chance.randbytes(client.chance.randrange(1, 200_000)))


async def send_nothing(client: Client) -> Outcome:
    """Send an empty body."""
    return await _ask(client, b"")


async def send_broken_json(client: Client) -> Outcome:
    """Say JSON and send half of it."""
    return await _ask(client, b'{"images": [{"data": "', "Content-Type: application/json\r\n")


async def send_slowly(client: Client) -> Outcome:
    """Send a whole file in small parts with pauses, and wait for the answer it is owed."""
    number = client.pick()
    request = build_request(client.target, client.files[number])
    connection = await Connection.open(client.target)
    try:
        size = len(request) // CHUNKS + 1
        for start in range(0, len(request), size):
            connection.write(request[start : start + size])
            await asyncio.sleep(client.chance.uniform(0, SLOWEST_PAUSE_S))
        answer = await connection.answer()
        return Outcome(answer.status, answer.body, number)
    finally:
        connection.close()


async def _ask(client: Client, body: bytes, kind: str = ENTITY_HEAD) -> Outcome:
    target = client.target
    head = f"POST {target.path} HTTP/1.1\r\nHost: {target.host}\r\n{kind}"
    request = head.encode() + f"Content-Length: {len(body)}".encode() + HEAD_END + body
    connection = await Connection.open(target)
    try:
        answer = await connection.exchange(request)
        return Outcome(answer.status, answer.body)
    finally:
        connection.close()


Misbehaviour: TypeAlias = Callable[[Client], Awaitable[Outcome]]

MISBEHAVIOURS: tuple[Misbehaviour, ...] = (
    leave_while_sending,
    leave_while_waiting,
    send_truncated,
    send_noise,
    send_nothing,
    send_broken_json,
    send_slowly,
)
