"""The API keys that count now."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path

from service.access.caller import Caller
from service.access.keys_file import ApiKey, parse_keys
from service.access.watched_file import WatchedFile
from service.errors import StartupError
from service.telemetry.logs import log_event


class KeyRing:
    """Keys from a file that is read anew when it changes. Belongs to the event loop.

    Args:
        path: Of the file.
        variable: The setting that names it, for messages.
        clock: Seconds that never go back.

    Raises:
        StartupError: The file cannot be read, is malformed or holds no key.
    """

    def __init__(
        self, path: Path, variable: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._file = WatchedFile(path, clock)
        try:
            self._keys = self._read()
        except StartupError as error:
            raise StartupError(f"{variable}: the file of keys cannot be used: {error}.") from None
        if not self._keys:
            raise StartupError(f"{variable}: the file holds no key. Make one: {MAKE_ONE}")

    def refresh(self) -> None:
        """Take up a changed file. One that is broken changes nothing, and the log says so."""
        if not self._file.has_changed():
            return
        try:
            self._keys = self._read()
        except StartupError as error:
            log_event(logging.ERROR, "keys file broken, old keys kept", reason=str(error))
        else:
            log_event(logging.WARNING, "keys file read anew", keys=len(self._keys))

    def find(self, secret: str) -> Caller | None:
        """Give whose key it is; None for a key that is not known or has expired.

        Every hash is compared, in constant time: how long it takes tells nothing.
        """
        shown = hashlib.sha256(secret.encode()).hexdigest().encode()
        found = None
        for key in self._keys:
            if hmac.compare_digest(shown, key.sha256.encode()):
                found = key
        if found is None or not found.is_valid():
            return None
        return Caller(found.name, "key", frozenset(found.scopes), found.rate)

    def _read(self) -> tuple[ApiKey, ...]:
        try:
            return parse_keys(self._file.read())
        except OSError as error:
            raise StartupError(error.strerror or "it cannot be read") from None


MAKE_ONE = "python -m service keys new --name NAME --scope predict --file FILE"
