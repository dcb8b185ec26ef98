"""The ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from cxr import __version__
from service.access.access import Access
from service.access.build import build_access
from service.access.scopes import SERVICE_ROUTES
from service.dicom.results import warm_up
from service.errors import StartupError
from service.explain.pictures import Renderer
from service.http import health, metrics, pages
from service.http.error_handlers import answer_uncaught, install_error_handlers, refuse_at_the_door
from service.http.formats.dicom import offers_dicom
from service.http.middleware import QUIET_PATHS, HeadMiddleware
from service.http.openapi import BODIES, DESCRIPTION, TAGS, TITLE
from service.http.v1 import catalogue, control, explain, predict, render
from service.http.v2 import errors as v2_errors
from service.http.v2 import infer as v2_infer
from service.http.v2 import metadata as v2_metadata
from service.http.v2 import wire as v2_wire
from service.models.runtime import Runtime
from service.telemetry.prometheus import Metrics
from service.web.access import AccessMiddleware
from service.web.body import BodyBudget
from service.web.documented import DocumentedApplication
from service.web.draining import DrainingMiddleware
from service.web.requests import RequestMiddleware, RequestRules, context_of
from service.web.security_headers import SecurityHeadersMiddleware


async def _start(runtime: Runtime) -> None:
    """Load what DICOM answers need, then the models: ready is ready for both.

    Raises:
        CxrError: The service cannot start; the message is for its operator.
    """
    settings = runtime.settings
    if offers_dicom(settings, reports=True):
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
    """Build the application around a runtime.

    The models are loaded in the background once the application runs, so that it can tell
    it is live while it starts.

    Args:
        runtime: Started and stopped with the application.
        on_started: Called once when loading has ended, with the error if it failed.
        access: Who may ask for what; as the settings say for None.

    Raises:
        StartupError: The settings do not say who may ask.
    """
    settings = runtime.settings
    access = access or build_access(settings)
    renderer = Renderer(settings.explain_threads, settings.explain_queue_capacity)
    recorded = Metrics(metrics.StateReader(runtime).read)
    runtime.record_to(recorded)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_start(runtime))

        def finished(task: asyncio.Task[None]) -> None:
            # Asking for the exception also marks it as seen.
            error = None if task.cancelled() else task.exception()
            if on_started is not None and not task.cancelled():
                on_started(error)

        loading.add_done_callback(finished)
        yield
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await runtime.stop()
        renderer.close()

    app = DocumentedApplication(
        bodies=(*BODIES, *control.BODIES, *v2_wire.BODIES),
        other_errors={v2_errors.PREFIX: v2_wire.ErrorAnswer},
        title=TITLE,
        description=DESCRIPTION,
        version=__version__,
        openapi_tags=TAGS,
        docs_url=None,  # pages.py has one that works without another host
        redoc_url=None,
        redirect_slashes=False,  # it would quote the Host header back
        lifespan=lifespan,
    )
    app.state.runtime = runtime
    app.state.body_budget = BodyBudget(settings.max_buffered_bytes)
    app.state.renderer = renderer
    app.state.metrics = recorded
    install_error_handlers(app)
    routed = (
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
    )
    for module in routed:
        app.include_router(module.router)
    app.mount(pages.PAGE_PATH, pages.page_files)
    app.mount(pages.ASSETS_PATH, pages.documentation_assets())
    app.state.access, app.state.routes = access, SERVICE_ROUTES
    # The one added last is outermost.
    app.add_middleware(
        AccessMiddleware,
        access=access,
        routes=SERVICE_ROUTES,
        refuse=refuse_at_the_door,
        request_id_of=lambda scope: context_of(scope).request_id,
    )
    app.add_middleware(DrainingMiddleware, lifecycle=runtime.lifecycle)
    app.add_middleware(HeadMiddleware)
    rules = RequestRules(
        recorded, answer_uncaught, quiet_paths=QUIET_PATHS, deadline_ms=settings.deadline_ms
    )
    app.add_middleware(RequestMiddleware, rules=rules)
    app.add_middleware(SecurityHeadersMiddleware)
    return app
