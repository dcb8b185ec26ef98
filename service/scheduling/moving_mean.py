"""An average that follows what it measures."""

from __future__ import annotations

MOST = 8.0  # times the mean: sound files of one sender differ less


class MovingMean:
    """Exponentially weighted mean; the first value counts whole, a later one ``MOST`` times it.

    So one that is far out of line, a hostile file for instance, does not speak for all others.

    Args:
        smoothing: Weight of the newest value.
    """

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self.value = 0.0

    def add(self, newest: float) -> None:
        """Take another value in."""
        known = self.value or newest
        self.value = known + self._smoothing * (min(newest, MOST * known) - known)
