"""What it costs to hand bytes to a worker process and get a small answer back.

Over the socket pair the service uses, with its own code on both sides, and beside it with the
bytes in a shared block, of which the message only tells where they are.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Callable
from functools import cache, partial
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from statistics import median
from typing import Any, TypedDict

import numpy as np

from benchmarks.load import run_loop
from service.workers.spawning import spawn
from service.workers.worker import Worker

SIZES = (100_000, 1_000_000, 10_000_000)
ANSWER = bytes(2000)
CACHE_LINE_BYTES = 64
BLOCK = 20
"""Messages of one way before the other's turn."""


class MessageFigures(TypedDict):
    """Medians of one size: from handing over to the answer, and CPU time of both processes."""

    size_bytes: int
    socket_us: float
    socket_cpu_us: float
    shared_us: float
    shared_cpu_us: float


def answer(data: bytes | memoryview) -> bytes:
    """Touch the bytes, as a decoder would, in the worker."""
    np.frombuffer(data, np.uint8)[::CACHE_LINE_BYTES].sum()
    return ANSWER


def answer_shared(name: str, start: int, end: int) -> bytes:
    """Touch bytes of a shared block, in the worker."""
    return answer(_room_of(_mapped(name))[start:end])


@cache
def _mapped(name: str) -> SharedMemory:
    block = SharedMemory(name)
    # Its maker removes it; Python before 3.13 would have whoever maps it do so, too.
    resource_tracker.unregister(f"/{name}", "shared_memory")
    return block


def _room_of(block: SharedMemory) -> memoryview:
    assert block.buf is not None, "it is open"
    return block.buf


def measure_messages(seconds: float) -> list[MessageFigures]:
    """Measure each size both ways in turns.

    Args:
        seconds: Of each size.
    """
    return run_loop(_measure(seconds))


async def _measure(seconds: float) -> list[MessageFigures]:
    worker = Worker(spawn(logging.WARNING), lambda _: None)
    block = SharedMemory(create=True, size=max(SIZES))
    try:
        return [await _measure_size(worker, block, size, seconds) for size in SIZES]
    finally:
        worker.close()
        block.close()
        block.unlink()


async def _measure_size(
    worker: Worker, block: SharedMemory, size: int, seconds: float
) -> MessageFigures:
    data, room = os.urandom(size), _room_of(block)

    def give() -> Callable[[], bytes]:
        return partial(answer, data)

    def share() -> Callable[[], bytes]:
        room[:size] = data
        return partial(answer_shared, block.name, 0, size)

    ways = {"socket": give, "shared": share}
    taken_us: dict[str, list[float]] = {name: [] for name in ways}
    cpu_us: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        await _send(worker, way)  # the first time imports and maps
    end_s = time.perf_counter() + seconds
    for name in itertools.cycle(ways):
        if time.perf_counter() >= end_s and cpu_us["shared"]:
            break
        before_s = await _cpu_s(worker)
        taken_us[name] += await _send(worker, ways[name])
        cpu_us[name].append(1e6 * (await _cpu_s(worker) - before_s) / BLOCK)
    return {
        "size_bytes": size,
        "socket_us": median(taken_us["socket"]),
        "socket_cpu_us": median(cpu_us["socket"]),
        "shared_us": median(taken_us["shared"]),
        "shared_cpu_us": median(cpu_us["shared"]),
    }


async def _send(worker: Worker, way: Callable[[], Callable[[], Any]]) -> list[float]:
    taken_us = []
    for _ in range(BLOCK):
        started_s = time.perf_counter()
        await worker.ask(way())
        taken_us.append(1e6 * (time.perf_counter() - started_s))
    return taken_us


async def _cpu_s(worker: Worker) -> float:
    return time.process_time() + await worker.ask(time.process_time)
