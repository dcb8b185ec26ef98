"""The file of API keys: what each is called, its hash, and what it may do.

The hash is a plain SHA-256. That is right here and would be wrong for passwords: a key is 256
random bits, so nobody finds it by trying, however fast the hash.
"""

from __future__ import annotations

import json
import tomllib
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.access.caller import Rate
from service.access.scopes import AccessScope
from service.errors import StartupError

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class ApiKey(BaseModel):
    """One key, without the key.

    Attributes:
        name: Stands in the log; unique.
        sha256: Of the key, 64 hexadecimal digits.
        scopes: What it allows.
        expires: From then on it allows nothing; None for never.
        rate_per_s: Calls a second in the long run; None for any number.
        burst: Calls at once after a pause.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", repr=False)
    scopes: frozenset[AccessScope] = Field(min_length=1)
    expires: AwareDatetime | None = None
    rate_per_s: float | None = Field(None, gt=0, le=1_000_000)
    burst: int = Field(10, ge=1, le=1_000_000)

    @property
    def rate(self) -> Rate | None:
        """How often it may be used; None for any number of times."""
        return None if self.rate_per_s is None else Rate(self.rate_per_s, self.burst)

    def is_valid(self, now: datetime | None = None) -> bool:
        """Whether it has not expired yet."""
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
    """Read a file of keys.

    Args:
        content: JSON if its first character is a brace, else TOML.

    Raises:
        StartupError: It is malformed; the message is one line and quotes nothing of it.
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
