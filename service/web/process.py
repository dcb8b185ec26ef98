"""A server's process: its port, TLS and open files."""

from __future__ import annotations

import os
import resource
import socket
import ssl
from pathlib import Path
from typing import Any

from cxr.files import verify_regular_file
from service.errors import StartupError
from service.settings import AccessSettings, prefix_of

MOST_OPEN_FILES = 65_536  # more are not used; some systems allow a billion


def listen(settings: AccessSettings, port: int, backlog: int) -> tuple[socket.socket, str]:
    """Bind a port and return the listener with the URL of what answers there.

    Raises:
        StartupError: It cannot be bound.
    """
    host = settings.host
    is_ipv6 = ":" in host
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if is_ipv6 else socket.AF_INET, backlog=backlog
        )
    except OSError as error:
        # The library's own text repeats the address, but is the only one for an unknown host name.
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else str(error.strerror)
        raise StartupError(
            f"Cannot listen on {host}:{port}: {reason}. "
            "Choose another address with --host and --port."
        ) from None
    shown = f"[{host}]" if is_ipv6 else host
    return listener, f"{settings.url_scheme}://{shown}:{listener.getsockname()[1]}"


def tls_options(settings: AccessSettings) -> dict[str, Any]:
    """Return uvicorn's options for TLS 1.2 and newer, none for plain HTTP.

    Raises:
        StartupError: Certificate and key cannot be used.
    """
    if not settings.tls_certificate:
        return {}
    files = (settings.tls_certificate, settings.tls_key)
    try:
        for file in files:
            verify_regular_file(Path(file))  # OpenSSL would wait for the writer of a pipe
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files, password=_no_password)
    except (OSError, ValueError):  # SSLError is an OSError
        raise StartupError(
            f"{prefix_of(type(settings))}TLS_CERTIFICATE, _TLS_KEY: the files are not a PEM "
            "certificate chain and its key, unencrypted."
        ) from None
    return {"ssl_certfile": files[0], "ssl_keyfile": files[1]}


def _no_password() -> str:
    # Without this OpenSSL would ask on the terminal.
    raise ValueError("the key is encrypted")


def raise_limit() -> None:
    """Raise the soft limit of open files to the hard one."""
    # Login shells and systemd set 1,024 for old programs: few idle connections exhaust it.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
