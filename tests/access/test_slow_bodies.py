"""Senders that trickle into the gateway."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from service.errors import DeadlineExceededError
from service.gateway.http import stow

pytestmark = pytest.mark.anyio


def make_request(pause_s: float, pieces: int) -> Request:
    """Make a request whose body comes byte by byte."""
    left = pieces

    async def receive() -> dict[str, Any]:
        nonlocal left
        await asyncio.sleep(pause_s)
        left -= 1
        return {"type": "http.request", "body": b"x", "more_body": left > 0}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def read(request: Request) -> int:
    """Read a body and give its length."""
    return sum([len(chunk) async for chunk in stow._chunks(request, 10**6)])


async def test_trickle_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece comes in time, all together come too slowly."""
    monkeypatch.setattr(stow, "CHUNK_TIMEOUT_S", 0.1)
    with pytest.raises(DeadlineExceededError):
        await read(make_request(0.02, 10_000))


async def test_stall_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """One piece does not come."""
    monkeypatch.setattr(stow, "CHUNK_TIMEOUT_S", 0.05)
    with pytest.raises(DeadlineExceededError):
        await read(make_request(10, 2))


async def test_short_slow_body_is_read() -> None:
    """A little patience costs nothing."""
    assert await read(make_request(0.01, 5)) == 5
