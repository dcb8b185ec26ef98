"""An average that follows what it measures."""

from __future__ import annotations


class MovingMean:
    """Exponentially weighted mean; the first value counts whole.

    Args:
        smoothing: Weight of the newest value.
    """

    def __init__(self, smoothing: float) -> None:
        self._smoothing = smoothing
        self.value = 0.0

    def add(self, newest: float) -> None:
        """Take another value in."""
        known = self.value or newest
        self.value = known + self._smoothing * (newest - known)
