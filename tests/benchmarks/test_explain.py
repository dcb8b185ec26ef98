"""Waiting for explanations, which come after predictions."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.explain import wait_explains
from tests.benchmarks.tiny_server import DROP, reply, tiny_server


@pytest.mark.anyio
@pytest.mark.parametrize("status", [200, 501])
async def test_explanations_are_waited_for(status: int) -> None:
    """Asked again and again while they are being loaded, and when nobody answers."""

    def answer(number: int, body: bytes) -> bytes | str:
        return (reply(503), DROP, reply(503), reply(status))[number]

    async with tiny_server(answer) as seen:
        server: Any = SimpleNamespace(target=seen.target, said="")
        assert await asyncio.to_thread(wait_explains, server, b"sample", "m") == status
    assert seen.bodies == [b"sample"] * 4
