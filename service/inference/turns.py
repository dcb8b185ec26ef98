"""Turns among those who share something, so that nobody's backlog is everybody's wait."""

from __future__ import annotations


class Turns:
    """Numbers jobs so that in each round every owner has at most one, the oldest.

    Begun in ascending order, the jobs of one owner alone are first in, first out; another one's
    first job comes in the round that is going on, whatever waits already. Who did without for a
    while has no claim on what was missed. This is start-time fair queueing (Goyal, Vin, Cheng
    1996) with jobs of equal cost. Not safe for threads by itself.
    """

    def __init__(self) -> None:
        self._round = 0
        self._next: dict[str, int] = {}

    def give(self, owner: str) -> int:
        """Number an owner's newest job. Owners are few and lasting, such as models."""
        turn = max(self._round, self._next.get(owner, 0))
        self._next[owner] = turn + 1
        return turn

    def begin(self, turn: int) -> None:
        """Say that the job of this number, the lowest there was, has begun."""
        self._round = turn
