"""Credentials for the service and the archives."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import httpx

from service.access.watched_file import WatchedFile
from service.client.exchange import BearerAuth, bearer
from service.gateway.settings import GatewaySettings


class TokenFile:
    """A token file, reread when it changes; if it is missing, the last token stays valid."""

    def __init__(self, path: Path) -> None:
        self._file = WatchedFile(path)
        self._lock = threading.Lock()
        self._token = ""

    def read(self) -> str:
        """Return the token, empty if there never was one."""
        with self._lock:
            if self._file.has_changed():
                with suppress(OSError, UnicodeDecodeError):
                    self._token = self._file.read().decode("ascii").strip() or self._token
            return self._token


def service_auth(settings: GatewaySettings) -> httpx.Auth | None:
    """Return the credentials for the service."""
    if settings.service_key_file:
        return BearerAuth(TokenFile(Path(settings.service_key_file)).read)
    return bearer(settings.service_key.get_secret_value() or None)


def auth_for(url: httpx.URL, token_file: Path | None) -> httpx.Auth | None:
    """Return an archive's credentials: a token, or those of its URL."""
    if token_file is not None:
        return BearerAuth(TokenFile(token_file).read)
    return httpx.BasicAuth(url.username, url.password) if url.username else None
