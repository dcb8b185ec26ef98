"""API keys.

Plain SHA-256 suffices, unlike for passwords: 256 random bits cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.access.caller import Caller, Rate
from service.access.scopes import AccessScope
from service.access.watched_file import WatchedFile
from service.errors import StartupError
from service.telemetry.logs import log_event

MAKE_ONE = "python -m service keys new --name NAME --scope predict --file FILE"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class ApiKey(BaseModel):
    """A key's entry; ``expires`` and ``rate_per_s`` None mean never and no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    scopes: frozenset[AccessScope] = Field(min_length=1)
    expires: AwareDatetime | None = None
    rate_per_s: float | None = Field(None, gt=0, le=1_000_000)
    burst: int = Field(10, ge=1, le=1_000_000)

    @property
    def rate(self) -> Rate | None:
        """Rate limit, if any."""
        return None if self.rate_per_s is None else Rate(self.rate_per_s, self.burst)

    def is_valid(self, now: datetime | None = None) -> bool:
        """Whether the key has not expired."""
        return self.expires is None or (now or datetime.now(UTC)) < self.expires


class _KeysFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: tuple[ApiKey, ...]

    @model_validator(mode="after")
    def _all_differ(self) -> _KeysFile:
        for member in ("name", "sha256"):
            values = [getattr(key, member) for key in self.keys]
            if len(set(values)) < len(values):
                raise ValueError(f"two keys have the same {member}")
        return self


def parse_keys(content: bytes) -> tuple[ApiKey, ...]:
    """Parse a JSON or TOML key file.

    Raises:
        StartupError: It is malformed; the one-line message quotes nothing.
    """
    try:
        text = content.decode("utf-8-sig")
        read = json.loads if text.lstrip().startswith("{") else tomllib.loads
        given: Any = read(text)
    except (ValueError, RecursionError):
        raise StartupError("it is neither JSON nor TOML") from None
    try:
        return _KeysFile.model_validate(given).keys
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise StartupError(f"{where}: {first['msg']}") from None


class KeyRing:
    """Keys of a file that is reloaded on change. Event loop only.

    Raises:
        StartupError: The file is unreadable, malformed or without keys.
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
        """Reload a changed file; if broken, keep the old keys."""
        if not self._file.has_changed():
            return
        try:
            self._keys = self._read()
        except StartupError as error:
            log_event(logging.ERROR, "keys file broken, old keys kept", reason=str(error))
        else:
            log_event(logging.WARNING, "keys file read anew", keys=len(self._keys))

    def find(self, secret: str) -> Caller | None:
        """Return a valid key's caller, comparing all hashes in constant time."""
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
