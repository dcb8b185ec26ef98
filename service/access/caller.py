"""Callers, credentials and rates."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from service.errors import RateLimitedError

MOST_BUCKETS = 10_000  # subjects of tokens are as many as an identity provider has users


@dataclass(frozen=True)
class Rate:
    """Token bucket rate: calls a second in the long run, and at once after a pause."""

    per_s: float
    burst: int


@dataclass(frozen=True)
class Caller:
    """An identified caller, named by its key or token subject."""

    name: str
    by: Literal["key", "oidc", "anonymous"]
    scopes: frozenset[str]
    rate: Rate | None = None


@dataclass(frozen=True)
class Credential:
    """A key or token as sent; keep it out of logs and answers."""

    secret: str = field(repr=False)
    is_bearer: bool


class Rates:
    """All callers' token buckets. Event loop only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, rate: Rate) -> None:
        """Take a call out of a bucket; raise RateLimitedError if empty."""
        now_s = self._clock()
        left, seen_s = self._buckets.pop(name, (float(rate.burst), now_s))
        left = min(float(rate.burst), left + (now_s - seen_s) * rate.per_s)
        if is_allowed := left >= 1:
            left -= 1
        self._buckets[name] = (left, now_s)
        while len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        if not is_allowed:
            wait_s = max(1, math.ceil((1 - left) / rate.per_s))
            raise RateLimitedError(
                f"The rate limit of {rate.per_s:g} calls a second is exceeded. Try again later.",
                wait_s,
            )
