"""Senders that trickle, and what they take from others meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from service.deadline import Deadline
from service.errors import BodyTooSlowError, DeadlineExceededError
from service.web.bodies import BodyRate, receive_body
from tests.service.conftest import make_settings
from tests.service.fake_engine import FakeEngine
from tests.service.harness import Running, running, until
from tests.service.make_images import make_png
from tests.service.test_body import PREDICT, call, make_scope

pytestmark = [pytest.mark.anyio, pytest.mark.xdist_group("waits")]

RATE = BodyRate(grace_s=10, bytes_per_s=100)
LIMIT_BYTES = 1_000_000


@dataclass
class Sender:
    """Sends pieces on a clock of its own: after how many seconds, how many bytes."""

    pieces: list[tuple[float, int]]
    now_s: float = 0.0

    def clock(self) -> float:
        """Give the time."""
        return self.now_s

    async def receive(self) -> dict[str, Any]:
        """Give the next piece."""
        pause_s, count = self.pieces.pop(0)
        self.now_s += pause_s
        return {"type": "http.request", "body": bytes(count), "more_body": bool(self.pieces)}

    async def read(self) -> int:
        """Read the whole body and give its length."""
        request = Request({"type": "http", "method": "POST", "headers": []}, self.receive)
        chunks = receive_body(request, LIMIT_BYTES, RATE, clock=self.clock)
        return sum([len(chunk) async for chunk in chunks])


@pytest.mark.parametrize(
    "pieces",
    [
        [(0.0, 100_000)],
        [(9.0, 1)],
        [(9.0, 1000), (9.0, 1)],
        [(1.0, 100)] * 100,
        [(0.02, 2)] * 5000,
        [(5.0, 100)] * 2 + [(1.0, 200)] * 50,
    ],
    ids=["at once", "a late byte", "two pauses", "as slow as allowed", "in drops", "catching up"],
)
async def test_body_that_keeps_up_is_read(pieces: list[tuple[float, int]]) -> None:
    """Some patience costs nothing."""
    expected = sum(count for _, count in pieces)
    assert await Sender(pieces).read() == expected


@pytest.mark.parametrize(
    "pieces",
    [
        [(1.0, 1)] * 1000,
        [(0.1, 1)] * 1000,
        [(11.0, 1)],
        [(0.0, 500_000), (11.0, 1)],
        [(0.0, 500_000)] + [(1.0, 10)] * 100,
    ],
    ids=["drops", "faster drops", "a pause", "a pause at the end", "drops at the end"],
)
async def test_body_that_falls_behind_is_cut(pieces: list[tuple[float, int]]) -> None:
    """However much came before: it would go on holding that."""
    sender = Sender([*pieces, (0.0, 0)])
    with pytest.raises(BodyTooSlowError):
        await sender.read()
    assert sender.now_s < 25


@pytest.mark.parametrize(
    ("grace_s", "deadline_ms", "error"),
    [(0.02, 60_000, BodyTooSlowError), (60, 20, DeadlineExceededError)],
    ids=["pause", "deadline"],
)
async def test_body_that_never_comes_is_not_waited_for(
    grace_s: float, deadline_ms: float, error: type[Exception]
) -> None:
    """Nothing has to arrive for the time to be over."""
    request = Request({"type": "http", "method": "POST", "headers": []}, asyncio.Queue[Any]().get)
    rate = BodyRate(grace_s, 100)
    with pytest.raises(error):
        async for _ in receive_body(request, 9, rate, Deadline.after_ms(deadline_ms)):
            pass


async def test_slow_body_is_a_problem(bundles: Path, engine: FakeEngine) -> None:
    """It is the client's fault, not the service's."""
    async with running(make_settings(bundles, body_grace_s=0.1), engine.build) as service:
        messages: asyncio.Queue[Any] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": b"\x89PNG", "more_body": True})
        async with asyncio.timeout(5):
            assert await call(service.app, make_scope(), messages) == 408
        assert service.app.state.body_budget.free_bytes == 2_000_000


async def test_declared_bodies_take_nothing_from_others(service: Running) -> None:
    """The budget counts what arrived, not what was promised."""
    budget = service.app.state.body_budget
    scope = make_scope((b"content-length", b"900000"))
    waiting = []
    for _ in range(8):
        messages: asyncio.Queue[Any] = asyncio.Queue()
        messages.put_nowait({"type": "http.request", "body": make_png()[:100], "more_body": True})
        waiting.append((messages, asyncio.create_task(call(service.app, scope, messages))))
    await until(lambda: budget.free_bytes == 2_000_000 - 800)
    response = await service.client.post(PREDICT, content=make_png())
    assert response.status_code == 200
    for messages, calling in waiting:
        messages.put_nowait({"type": "http.disconnect"})
        assert await calling == 499
    assert budget.free_bytes == 2_000_000


async def test_bodies_that_arrive_are_bounded_together(service: Running) -> None:
    """What does not fit beside the others is refused, and its memory free again."""
    budget = service.app.state.body_budget
    queues: list[asyncio.Queue[Any]] = [asyncio.Queue() for _ in range(3)]
    calls = [asyncio.create_task(call(service.app, make_scope(), one)) for one in queues]
    for messages in queues:
        piece = make_png() + bytes(800_000)
        messages.put_nowait({"type": "http.request", "body": piece, "more_body": True})
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert [task.result() for task in done] == [429]
    for messages in queues:
        messages.put_nowait({"type": "http.disconnect"})
    await asyncio.gather(*calls)
    assert budget.free_bytes == 2_000_000
