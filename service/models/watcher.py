"""New versions in the bundle repository, found by scanning again and again.

Notifications of the kernel do not work over network file systems, nor where a volume's links
change beneath a path; scanning some manifests and file times is cheap.
"""

from __future__ import annotations

import asyncio
import logging

from service.errors import BrokenBundleError, UnknownModelError
from service.models.deployment import Deployment
from service.models.models import Models
from service.models.repository import Found, newest_first
from service.models.versions import version_order
from service.telemetry.logs import log_event


class Watcher:
    """Loads versions that appear and activates the newest. Belongs to the event loop.

    A half-copied folder is tried again when a file of it has changed, and reported as broken when
    nothing changes any more. A version that was active once is never activated by itself again: a
    rollback holds.
    """

    def __init__(self, deployment: Deployment, models: Models, every_s: float) -> None:
        self._deployment = deployment
        self._models = models
        self._every_s = every_s
        self._tried: dict[str, str] = {}
        self._untold: dict[str, str] = {}

    async def watch(self) -> None:
        """Scan until cancelled."""
        look = self.begin
        while True:
            try:
                await look()
                look = self.look
            except Exception as error:  # whatever happens to a disk, the next look may do
                log_event(logging.ERROR, "looking for bundles failed", error)
            await asyncio.sleep(self._every_s)

    async def begin(self) -> None:
        """Record what was there at the start: it was tried then."""
        for found in await self._deployment.look():
            self._tried[found.folder] = found.fingerprint

    async def look(self) -> None:
        """Scan once."""
        shelf = await self._deployment.look()
        for name in dict.fromkeys(found.name for found in shelf):
            for found in newest_first(found for found in shelf if found.name == name):
                await self._consider(found)
        self._deployment.tidy()

    async def _consider(self, found: Found) -> None:
        if self._tried.get(found.folder) == found.fingerprint:
            self._tell_once(found)
            return
        self._tried[found.folder] = found.fingerprint
        self._untold.pop(found.folder, None)
        if not self._is_wanted(found):
            return
        try:
            await self._deployment.load(
                found.name,
                found.key,
                activate=not self._deployment.is_shadow(found.name, found.key),
            )
        except (BrokenBundleError, UnknownModelError):
            self._untold[found.folder] = found.fingerprint

    def _tell_once(self, found: Found) -> None:
        """Log a broken bundle when it has stopped changing."""
        if self._untold.pop(found.folder, None) is None:
            return
        version = self._models.versions_of(found.name).by_key.get(found.key)
        if version is not None and version.state == "failed":
            self._deployment.log_failure(version, found.name)

    def _is_wanted(self, found: Found) -> bool:
        versions = self._models.versions_of(found.name)
        version = versions.by_key.get(found.key)
        if version is None or version.state not in ("available", "failed"):
            return False
        if self._deployment.is_shadow(found.name, found.key):
            return True
        if (found.name, found.sha256) in self._deployment.were_active:
            return False
        active = versions.active
        # One that cannot be read is opened for the reason.
        return (
            active is None
            or found.version is None
            or version_order(found.version) > version_order(active.number)
        )
