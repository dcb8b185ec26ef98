"""How often each caller may ask: a token bucket each."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from service.access.caller import Rate
from service.errors import RateLimitedError

MOST_BUCKETS = 10_000  # subjects of tokens are as many as an identity provider has users


class Rates:
    """The buckets of all callers. Belongs to the event loop.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, rate: Rate) -> None:
        """Take one call out of a caller's bucket, which fills at its rate.

        Raises:
            RateLimitedError: It is empty; the error says when there is one again.
        """
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
                f"More calls than the {rate.per_s:g} a second of this key. Try again later.", wait_s
            )
