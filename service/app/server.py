"""The application on uvicorn."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Sequence
from types import FrameType

import uvicorn

from cxr.errors import CxrError
from service.app.application import build_app
from service.engines.registry import build_engine, runs_on_cores
from service.errors import StartupError
from service.explain.building import build_explainer
from service.models.runtime import Runtime
from service.settings import Settings
from service.telemetry.logs import configure_logging, log_event
from service.telemetry.tracing import start_tracing, stop_tracing
from service.web.process import listen, raise_limit, tls_options
from service.web.protocol import GuardedProtocol
from service.workers.spawning import Spawned

BACKLOG = 2048
CLOSE_CONNECTIONS_S = 5  # for responses on their way when everything accepted is answered


class Server(uvicorn.Server):
    """uvicorn that keeps answering while it drains.

    uvicorn stops listening at once: load balancers would not learn to use another replica.
    """

    def __init__(self, settings: Settings, spawned: Sequence[Spawned] = ()) -> None:
        self._settings = settings
        self._runtime = Runtime(
            settings,
            build_engine,
            build_explainer if settings.explain != "off" else None,
            spawned,
            runs_on_cores,
        )
        self._draining: asyncio.Task[None] | None = None
        self._address = ""
        self.failure: BaseException | None = None
        self.cut_off = False
        super().__init__(
            uvicorn.Config(
                build_app(self._runtime, self._on_started),
                log_config=None,
                access_log=False,  # the application writes its own line per request
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="on",
                timeout_keep_alive=settings.keep_alive_s,
                timeout_graceful_shutdown=CLOSE_CONNECTIONS_S,
                http=GuardedProtocol,
                **tls_options(settings),
            )
        )

    def listen(self) -> socket.socket:
        """Bind the port.

        Raises:
            StartupError: It cannot be bound.
        """
        settings = self._settings
        listener, self._address = listen(settings, settings.port, BACKLOG)
        return listener

    def _on_started(self, error: BaseException | None) -> None:
        self.failure = error
        if error is not None:
            self.should_exit = True
        if not self._runtime.lifecycle.is_ready:
            return
        default = self._runtime.models.default
        print(
            f"\nReady at {self._address} with {len(self._runtime.loaded_models)} model(s), "
            f"default {default}. Research use only, not a medical device.\n"
            f"  Try it:  curl --data-binary @image.jpeg {self._address}/v1/predict\n"
            f"  Docs:    {self._address}/docs\n",
            file=sys.stderr,
            flush=True,
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, stop at the second.

        uvicorn would raise the signal again and exit with its code.
        """
        if self._draining is not None or not self.started:
            self.cut_off = self._runtime.lifecycle.active_requests > 0
            self.should_exit = self.force_exit = True
            return
        # A signal handler must wake the loop, which may be waiting for sockets.
        asyncio.get_running_loop().call_soon_threadsafe(self._begin_drain)

    def _begin_drain(self) -> None:
        self._draining = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        lifecycle, settings = self._runtime.lifecycle, self._settings
        lifecycle.drain()
        log_event(logging.INFO, "draining", active_requests=lifecycle.active_requests)
        await asyncio.sleep(settings.drain_delay_s)
        self.cut_off = not await lifecycle.finish_accepted(settings.drain_s)
        self.force_exit = self.cut_off  # a run that never ends must not hold up the end
        self.should_exit = True


def serve(settings: Settings, spawned: Sequence[Spawned] = ()) -> None:
    """Serve until told to stop; exit with 1 if accepted requests were cut off.

    Args:
        settings: What the operator set.
        spawned: Worker processes that were started before.

    Raises:
        CxrError: The service cannot start.
    """
    raise_limit()
    configure_logging(settings.log_level)
    start_tracing(settings.tracing, "cxr-service")
    server = Server(settings, spawned)
    with server.listen() as listener:
        server.run(sockets=[listener])
    stop_tracing()
    if isinstance(server.failure, CxrError):
        raise server.failure
    if server.failure is not None:
        log_event(logging.ERROR, "start failed", server.failure)
        raise StartupError(f"The service cannot start ({type(server.failure).__name__}).")
    if server.cut_off:
        log_event(logging.WARNING, "accepted requests were cut off")
        sys.stdout.flush()
        os._exit(1)  # the interpreter would wait for the thread of that run
