"""The ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from service.access.access import Access
from service.access.build import build_access
from service.access.scopes import SERVICE_ROUTES
from service.dicom.results import warm_up
from service.errors import StartupError
from service.http import health, metrics, pages
from service.http.formats.dicom import offers_dicom
from service.http.openapi import BODIES, DESCRIPTION, TAGS, TITLE
from service.http.v1 import catalogue, control, explain, predict, render
from service.http.v2 import infer as v2_infer
from service.http.v2 import metadata as v2_metadata
from service.http.v2 import wire as v2_wire
from service.http.v2.errors import PREFIX, answer_problem
from service.models.runtime import Runtime
from service.telemetry.prometheus import Metrics
from service.web.application import WebApplication
from service.web.bodies import BodyBudget
from service.web.requests import RequestRules

QUIET_PATHS = frozenset(
    {
        "/health",
        "/health/live",
        "/health/ready",
        "/metrics",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{name}/ready",
        "/v2/models/{name}/versions/{version}/ready",
    }
)
"""Probes arrive every few seconds: they are logged for debugging only."""


async def _start(runtime: Runtime) -> None:
    settings = runtime.settings
    if offers_dicom(settings, reports=True):
        if settings.isolation == "threads":  # a process loads what makes reports at the first one
            await asyncio.to_thread(warm_up)
    elif settings.dicom_results == "on":
        runtime.lifecycle.fail()
        raise StartupError(
            "CXR_DICOM_RESULTS is on, but highdicom is not installed. Install the extra pacs."
        )
    await runtime.start()


def build_app(
    runtime: Runtime,
    on_started: Callable[[BaseException | None], None] | None = None,
    access: Access | None = None,
) -> FastAPI:
    """Build the application around a runtime, which starts and stops with it.

    Models are loaded in the background. ``on_started`` is called once afterwards, with the error if
    loading failed.

    Raises:
        StartupError: No access policy is given or configured.
    """
    settings = runtime.settings
    access = access or build_access(settings)
    recorded = Metrics(metrics.StateReader(runtime).read)
    runtime.record_to(recorded)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_start(runtime))

        def finished(task: asyncio.Task[None]) -> None:
            # Asking for the exception also marks it as retrieved.
            error = None if task.cancelled() else task.exception()
            if on_started is not None and not task.cancelled():
                on_started(error)

        loading.add_done_callback(finished)
        yield
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await runtime.stop()

    app = WebApplication(
        (
            predict,
            explain,
            render,
            catalogue,
            control,
            health,
            metrics,
            v2_metadata,
            v2_infer,
            pages,
        ),
        access=access,
        routes=SERVICE_ROUTES,
        rules=RequestRules(
            recorded,
            runtime.lifecycle,
            answer_problem=answer_problem,
            quiet_paths=QUIET_PATHS,
            deadline_ms=settings.deadline_ms,
            answers_head=True,
        ),
        index="/docs",
        bodies=(*BODIES, *control.BODIES, *v2_wire.BODIES),
        other_errors={PREFIX: v2_wire.ErrorAnswer},
        title=TITLE,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
    )
    app.state.runtime = runtime
    app.state.body_budget = BodyBudget(settings.max_buffered_bytes)
    app.state.metrics = recorded
    app.mount(pages.PAGE_PATH, pages.page_files)
    app.mount(pages.ASSETS_PATH, pages.documentation_assets())
    return app
