"""The versions of one model, and which of them is active.

Knows no engine and no disk: what is loaded is a payload here. Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias, TypeVar

State: TypeAlias = Literal["available", "loading", "active", "standby", "unloading", "failed"]
"""``available`` on disk; ``active`` answers requests that name no version; ``standby`` is loaded,
and answers those that name it; ``unloading`` finishes what it began."""

LOADED: frozenset[State] = frozenset({"active", "standby"})
"""States in which requests may begin on a version."""

P = TypeVar("P")

NUMBER = re.compile(r"\d+\.\d+\.\d+")


@dataclass
class Version(Generic[P]):
    """One version. ``payload`` is None unless it is active, standby or unloading.

    Attributes:
        key: Its number; the folder, where the manifest cannot be read.
        folder: Where it is, for display.
        fingerprint: Of its files when they were last scanned.
        reason: Why it failed.
        uses: Number of requests that hold it; ``idle`` is set when the last lets go.
        was_active: Whether it ever was active.
    """

    key: str
    number: str | None
    folder: str
    fingerprint: str = ""
    state: State = "available"
    reason: str = ""
    payload: P | None = None
    uses: int = 0
    was_active: bool = False
    idle: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    @property
    def is_loaded(self) -> bool:
        """Whether requests may begin on it."""
        return self.state in LOADED

    @property
    def model(self) -> P:
        """What was loaded.

        Raises:
            ValueError: Nothing is.
        """
        if self.payload is None:
            raise ValueError(f"version {self.key} is {self.state}")
        return self.payload

    async def wait_idle(self) -> None:
        """Wait until no request holds it."""
        while self.uses:
            self.idle.clear()
            await self.idle.wait()


class Versions(Generic[P]):
    """The versions of one model, at most one of them active.

    ::

        available -> loading -> standby <-> active
            ^           |          |
            |           v          v
            +------- failed     unloading -> available

    ``former`` are the keys of versions that were active before, the last one last.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.former: list[str] = []
        self.by_key: dict[str, Version[P]] = {}
        self.active: Version[P] | None = None

    def __iter__(self) -> Iterator[Version[P]]:
        """Iterate in ascending order; versions that cannot be read come first."""
        return iter(sorted(self.by_key.values(), key=lambda one: version_order(one.number)))

    @property
    def loaded(self) -> list[Version[P]]:
        """Versions that requests may begin on."""
        return [version for version in self if version.is_loaded]

    def note(self, key: str, number: str | None, folder: str, fingerprint: str) -> Version[P]:
        """Return a version found on disk, known from now on."""
        version = self.by_key.get(key)
        if version is None:
            version = self.by_key[key] = Version(key, number, folder, fingerprint)
        return version

    def begin_loading(self, version: Version[P]) -> None:
        """Mark a version as being loaded, also one that failed before."""
        _expect(version, "available", "failed")
        version.state, version.reason = "loading", ""

    def fail(self, version: Version[P], reason: str) -> None:
        """Mark a version as one that cannot be loaded."""
        _expect(version, "available", "loading", "failed")
        version.state, version.reason = "failed", reason

    def finish_loading(self, version: Version[P], payload: P) -> None:
        """Put what was loaded on standby."""
        _expect(version, "loading")
        version.state, version.payload = "standby", payload

    def activate(self, version: Version[P]) -> Version[P] | None:
        """Activate a loaded version; return the one that was."""
        _expect(version, "standby", "active")
        before = self.active
        if version is before:
            return before
        if before is not None:
            before.state = "standby"
            self._remember(before.key)
        self._forget(version.key)
        version.state, version.was_active = "active", True
        self.active = version
        return before

    def roll_back(self, version: Version[P]) -> Version[P] | None:
        """Activate a former version; later ones can no longer be rolled back to."""
        _expect(version, "standby", "active")
        if version.key in self.former:
            del self.former[self.former.index(version.key) :]
        came_from = self.active
        before = self.activate(version)
        if came_from is not None and came_from is not version:
            self._forget(came_from.key)
        return before

    def begin_unloading(self, version: Version[P]) -> None:
        """Let no more requests begin on a version."""
        _expect(version, "standby", "active")
        if version is self.active:
            self.active = None
            self._remember(version.key)
        version.state = "unloading"

    def finish_unloading(self, version: Version[P]) -> None:
        """Release what was loaded."""
        _expect(version, "unloading")
        if version.uses:
            raise ValueError(f"version {version.key} is in use")
        version.state, version.payload = "available", None

    def drop(self, version: Version[P]) -> None:
        """Forget a version that is neither loaded nor on disk."""
        _expect(version, "available", "failed")
        del self.by_key[version.key]
        self._forget(version.key)

    def _remember(self, key: str) -> None:
        self._forget(key)
        self.former.append(key)

    def _forget(self, key: str) -> None:
        if key in self.former:
            self.former.remove(key)


def version_order(version: str | None) -> tuple[int, ...]:
    """Return a sort key: the numbers of a version, empty for anything else."""
    if version is None or NUMBER.fullmatch(version) is None:
        return ()
    return tuple(map(int, version.split(".")))


def _expect(version: Version[P], *states: State) -> None:
    if version.state not in states:
        raise ValueError(f"version {version.key} is {version.state}, not {' or '.join(states)}")
