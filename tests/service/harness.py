"""The whole application in the test's own event loop, under a real HTTP client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI

from service.app.application import build_app
from service.engines.protocol import EngineBuilder
from service.explain.explaining import ExplainerBuilder
from service.models.residents import always
from service.models.runtime import Runtime
from service.scheduling.admission import InFlight
from service.scheduling.lane import DeviceLane
from service.settings import Settings


@dataclass
class Running:
    """A running application."""

    client: httpx.AsyncClient
    app: FastAPI
    runtime: Runtime


@asynccontextmanager
async def running(
    settings: Settings,
    build_engine: EngineBuilder,
    build_explainer: ExplainerBuilder | None = None,
    *,
    wait: bool = True,
    runs_on_cores: Callable[[Settings], bool] = always,
) -> AsyncIterator[Running]:
    """Run the application; ``wait`` until it is ready."""
    started: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
    runtime = Runtime(settings, build_engine, build_explainer, runs_on_cores=runs_on_cores)
    app = build_app(runtime, started.set_result)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        if wait:
            error = await started
            assert error is None, error
        yield Running(client, app, runtime)


def load_of(service: Running, model: str | None = None) -> InFlight:
    """Give what a model has under way, of the default one for None."""
    return service.runtime.models.get(model).lane.in_flight


def waiting_for_run(service: Running) -> int:
    """Give how many decoded images of the default model wait for its device."""
    lane = service.runtime.models.get(None).lane
    assert isinstance(lane, DeviceLane)
    return lane.batcher.depth


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something has come true."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)
