"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Rate:
    """How often one caller may ask.

    Attributes:
        per_s: Calls a second in the long run, above 0.
        burst: Calls at once after a pause, at least 1.
    """

    per_s: float
    burst: int


@dataclass(frozen=True)
class Caller:
    """Somebody who is known.

    Attributes:
        name: Of the key, or the token's subject; stands in the log.
        by: How it was told who it is.
        scopes: What it may do.
        rate: How often; None for as often as it likes.
    """

    name: str
    by: Literal["key", "oidc", "anonymous"]
    scopes: frozenset[str]
    rate: Rate | None = None


@dataclass(frozen=True)
class Credential:
    """What a caller shows.

    Attributes:
        secret: A key or a token; in no log and no answer.
        is_bearer: Whether it came as a bearer token, and may be a JWT.
    """

    secret: str = field(repr=False)
    is_bearer: bool
