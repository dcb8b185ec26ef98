"""The gateway process."""

from __future__ import annotations

import logging
import sys
from types import FrameType

import uvicorn
from pydicom import config

from cxr.errors import CxrError
from cxr.silence import silence
from service.access.access import Access
from service.access.build import build_access
from service.errors import StartupError
from service.gateway.deliver.bearer import service_auth
from service.gateway.gateway import Gateway
from service.gateway.http.application import build_gateway_app
from service.gateway.settings import GatewaySettings
from service.gateway.work.refusal_reports import RefusalReports
from service.telemetry.logs import configure_logging, log_event
from service.telemetry.tracing import start_tracing, stop_tracing
from service.web.process import listen, raise_limit, tls_options
from service.web.protocol import GuardedProtocol

BACKLOG = 1024
CLOSE_CONNECTIONS_S = 10
KEEP_ALIVE_S = 15


class GatewayServer(uvicorn.Server):
    """HTTP server that starts and stops a gateway."""

    def __init__(self, gateway: Gateway, access: Access, address: str) -> None:
        self._gateway = gateway
        self._address = address
        self.failure: BaseException | None = None
        super().__init__(
            uvicorn.Config(
                build_gateway_app(gateway, access, self._on_started),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="on",
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=CLOSE_CONNECTIONS_S,
                http=GuardedProtocol,
                **tls_options(gateway.settings),
            )
        )

    def _on_started(self, error: BaseException | None) -> None:
        self.failure = error
        if error is not None:
            self.should_exit = True
            return
        dimse = self._gateway.dimse_port
        settings = self._gateway.settings
        print(
            f"\nGateway ready. Research use only, not a medical device.\n"
            f"  STOW-RS: {self._address}/dicomweb/studies\n"
            + (f"  DIMSE:   {settings.ae_title}@{settings.host}:{dimse}\n" if dimse else "")
            + f"  Jobs:    {self._address}/v1/jobs\n",
            file=sys.stderr,
            flush=True,
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; at the second signal at once. Nothing is lost."""
        # Unlike uvicorn's own method, this does not raise the signal again: the exit code is 0.
        self.force_exit = self.should_exit
        self.should_exit = True


def silence_libraries() -> None:
    """Silence DICOM libraries: their logs and warnings quote patient data."""
    silence("pydicom", "pynetdicom")
    config.settings.reading_validation_mode = config.IGNORE


def serve_gateway(settings: GatewaySettings) -> None:
    """Run a gateway until stopped; raise :class:`CxrError` if it cannot start."""
    raise_limit()
    configure_logging(settings.log_level)
    start_tracing(settings.tracing, "cxr-gateway")
    silence_libraries()
    access = build_access(settings)
    tls_options(settings)  # fails early if the certificate is wrong
    reports = None
    if settings.not_analysed == "report":
        reports = RefusalReports(
            settings.service_url,
            settings.analysis_timeout_s,
            settings.model,
            auth=service_auth(settings),
        )
    gateway = Gateway(settings, reports)
    listener, address = listen(settings, settings.port, BACKLOG)
    server = GatewayServer(gateway, access, address)
    with listener:
        server.run(sockets=[listener])
    stop_tracing()
    if isinstance(server.failure, CxrError):
        raise server.failure
    if server.failure is not None:
        log_event(logging.ERROR, "start failed", server.failure)
        raise StartupError(f"The gateway cannot start ({type(server.failure).__name__}).")
