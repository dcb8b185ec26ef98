"""Versions loaded beside the active one, activated, rolled back and unloaded."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeAlias, TypeVar

from service.errors import (
    BrokenBundleError,
    LastModelError,
    NoFormerVersionError,
    UnknownModelError,
    VersionInUseError,
)
from service.models.lanes import LaneBuilder
from service.models.loading import Candidate, Failure, Loader
from service.models.memory import free_memory_bytes, release_memory
from service.models.models import Models, ServedModel
from service.models.repository import Found
from service.models.versions import Version, Versions, version_order
from service.scheduling.priority import lower_priority
from service.settings import Settings
from service.telemetry.logs import log_event

T = TypeVar("T")

One: TypeAlias = Version[ServedModel]


class Deployment:
    """Changes which versions are loaded and which are active. Belongs to the event loop.

    Changes of one model are made one after the other, and are idempotent. What blocks runs on
    threads of its own, so that requests go on.
    """

    def __init__(
        self,
        settings: Settings,
        models: Models,
        loader: Loader,
        lanes: LaneBuilder,
        free_bytes: Callable[[], int | None] = free_memory_bytes,
    ) -> None:
        self._settings = settings
        self._models = models
        self._loader = loader
        self._lanes = lanes
        self._free_bytes = free_bytes
        self._found: dict[tuple[str, str], Found] = {}
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._unloading: dict[int, asyncio.Task[None]] = {}
        self.were_active: set[tuple[str, str]] = set()
        """Names and digests of all that ever answered: nothing of it is switched in by itself."""

    def adopt(self, tried: list[Candidate | Failure]) -> None:
        """Activate the versions that were loaded at the start."""
        for one in tried:
            versions = self._models.versions_of(one.found.name)
            version = self._note(one.found)
            versions.begin_loading(version)
            if isinstance(one, Candidate):
                versions.finish_loading(version, self._lanes.begin(one))
                self._switch(versions, version)
            else:
                versions.fail(version, one.reason)
                self.log_failure(version, one.found.name)

    async def look(self) -> list[Found]:
        """Scan the repository and record what it holds."""
        shelf = await asyncio.to_thread(self._loader.look)
        self._found = {}
        # The bundle that was loaded is its version; another one that claims to be it is not.
        for found in sorted(shelf, key=self._is_loaded_from, reverse=True):
            version = self._note(found)
            if self._found.setdefault((found.name, version.key), found) is not found:
                self._refuse_second(found)
        self._forget_vanished()
        return shelf

    def found(self, name: str, key: str) -> Found | None:
        """Return where a version was at the last scan."""
        return self._found.get((name, key))

    async def load(self, name: str, number: str | None = None, *, activate: bool = True) -> One:
        """Load a version, or the newest, and activate it unless it should only stand by.

        Raises:
            UnknownModelError: There is no such version.
            BrokenBundleError: It cannot be loaded; nothing was changed.
        """
        async with self._changing(name) as versions:
            version = self._choose(versions, number)
            await self._make_loaded(versions, version)
            if activate:
                self._switch(versions, version)
            return version

    async def roll_back(self, name: str, number: str | None = None) -> One:
        """Activate a former version again, or the one that was active before.

        Raises:
            UnknownModelError: There is no such version, or no longer.
            BrokenBundleError: It was unloaded and cannot be loaded again.
            NoFormerVersionError: None was active before.
        """
        async with self._changing(name) as versions:
            if number is None and not versions.former:
                raise NoFormerVersionError(
                    f"No version of model {name} answered before the present one. Name a version."
                )
            version = self._choose(versions, number or versions.former[-1])
            await self._make_loaded(versions, version)
            self._switch(versions, version, back=True)
            return version

    async def unload(self, name: str, number: str | None = None) -> None:
        """Unload a version on standby, or a whole model, once its requests are done.

        Raises:
            UnknownModelError: There is no such version.
            VersionInUseError: It is active.
            LastModelError: No other model is loaded.
        """
        async with self._changing(name) as versions:
            if number is None:
                leaving = self._whole(versions)
            else:
                leaving = [self._choose(versions, number)]
                self._verify_unused(versions, leaving[0])
            for version in leaving:
                if version.is_loaded:
                    self._let_go(versions, version)
            for version in leaving:
                await self._gone(version)

    def tidy(self) -> None:
        """Unload former versions for which there is no memory."""
        for versions in self._models.every:
            self._trim(versions)

    def log_failure(self, version: One, name: str) -> None:
        """Log why a version cannot be served."""
        log_event(
            logging.ERROR,
            "bundle not usable",
            model=name,
            version=version.number,
            folder=version.folder,
            reason=version.reason,
        )

    async def stop(self) -> None:
        """Cancel what is under way; requests that hold versions are waited for elsewhere."""
        for task in self._unloading.values():
            task.cancel()
        await asyncio.gather(*self._unloading.values(), return_exceptions=True)

    @asynccontextmanager
    async def _changing(self, name: str) -> AsyncIterator[Versions[ServedModel]]:
        await self.look()
        if not self._models.knows(name):
            known = ", ".join(
                one.model for one in self._models.every if self._models.knows(one.model)
            )
            raise UnknownModelError(f"Unknown model. There are: {known}.")
        async with self._locks[name]:
            yield self._models.versions_of(name)

    def _choose(self, versions: Versions[ServedModel], number: str | None) -> One:
        if number is None:
            on_disk = [v for v in versions if v.number and self.found(versions.model, v.key)]
            newest = max(on_disk, key=lambda one: version_order(one.number), default=None)
            version = newest or versions.active
        else:
            version = versions.by_key.get(number)
        if version is None:
            known = ", ".join(one.key for one in versions)
            raise UnknownModelError(
                f"Model {versions.model} has no such version. There are: {known}."
            )
        return version

    def _whole(self, versions: Versions[ServedModel]) -> list[One]:
        others = [one for one in self._models.every if one is not versions and one.loaded]
        if versions.loaded and not others:
            raise LastModelError(
                f"Model {versions.model} is the only one that is loaded. Load another one first."
            )
        if versions.loaded and versions.model == self._models.default:
            raise VersionInUseError(
                f"Model {versions.model} answers requests that name no model. It stays loaded."
            )
        return list(versions)

    def _verify_unused(self, versions: Versions[ServedModel], version: One) -> None:
        if version is versions.active:
            raise VersionInUseError(
                f"Version {version.key} answers requests that name no version of model "
                f"{versions.model}. Load another one or roll back first."
            )
        if version.is_loaded and self.is_shadow(versions.model, version.key):
            raise VersionInUseError(f"Version {version.key} is a shadow (CXR_SHADOW).")

    def is_shadow(self, name: str, key: str) -> bool:
        """Return whether a version answers in the background."""
        return (name, key) in self._settings.shadow

    async def _make_loaded(self, versions: Versions[ServedModel], version: One) -> None:
        await self._gone(version)
        if version.is_loaded:
            return
        found = self.found(versions.model, version.key)
        if found is None:
            raise UnknownModelError(
                f"Version {version.key} of model {versions.model} is no longer on disk."
            )
        if found.version not in (None, version.key):  # refused as the second of that version
            raise BrokenBundleError(version.reason)
        versions.begin_loading(version)
        try:
            outcome = await self._aside(partial(self._loader.try_to_load, found))
        except BaseException:
            versions.fail(version, "Loading it was broken off.")
            raise
        if isinstance(outcome, Failure):
            versions.fail(version, outcome.reason)
            raise BrokenBundleError(outcome.reason)
        versions.finish_loading(version, self._lanes.begin(outcome))

    async def _aside(self, work: Callable[[], T]) -> T:
        """Run on a thread of its own, at low priority where the cores answer requests."""
        on_cores = any(served.loaded.engine.runs_on_cores for served in self._models.held)
        # A device's threads are begun by this one, and would stand back for good.
        thread = ThreadPoolExecutor(
            1, thread_name_prefix="load", initializer=lower_priority if on_cores else None
        )
        try:
            return await asyncio.wrap_future(thread.submit(work))
        finally:
            thread.shutdown(wait=False)

    def _switch(self, versions: Versions[ServedModel], version: One, *, back: bool = False) -> None:
        before = versions.active
        if version is before:
            return
        if back:
            versions.roll_back(version)
        else:
            versions.activate(version)
        served = version.payload
        assert served is not None, "an active version has its model"
        if before is not None and before.payload is not None:
            served.lane.in_flight.expect_like(before.payload.lane.in_flight)
        self.were_active.add((versions.model, served.loaded.bundle.sha256))
        log_event(
            logging.INFO,
            "model switched",
            model=versions.model,
            version=version.key,
            before=before and before.key,
        )
        self._trim(versions)

    def _trim(self, versions: Versions[ServedModel]) -> None:
        """Keep the latest former versions, as many as wanted and as memory allows."""
        former = [
            version
            for version in versions.loaded
            if version.state == "standby"
            and version.was_active
            and not self.is_shadow(versions.model, version.key)
        ]
        rank = {key: place for place, key in enumerate(versions.former)}
        former.sort(key=lambda version: rank.get(version.key, -1), reverse=True)
        free_bytes = self._free_bytes() if former else None
        short = free_bytes is not None and free_bytes < self._settings.standby_free_bytes
        for version in former[0 if short else self._settings.standby_versions :]:
            self._let_go(versions, version)

    def _let_go(self, versions: Versions[ServedModel], version: One) -> None:
        versions.begin_unloading(version)
        self._unloading[id(version)] = asyncio.create_task(self._unload(versions, version))

    async def _unload(self, versions: Versions[ServedModel], version: One) -> None:
        await version.wait_idle()
        served = version.payload
        assert served is not None, "it was loaded"
        await self._lanes.end(served)
        versions.finish_unloading(version)
        del served
        await asyncio.to_thread(release_memory)
        log_event(logging.INFO, "model unloaded", model=versions.model, version=version.key)
        self._unloading.pop(id(version), None)

    async def _gone(self, version: One) -> None:
        if (task := self._unloading.get(id(version))) is not None:
            await asyncio.shield(task)

    def _is_loaded_from(self, found: Found) -> bool:
        version = self._models.versions_of(found.name).by_key.get(found.key)
        return version is not None and version.is_loaded and version.folder == found.folder

    def _note(self, found: Found) -> One:
        versions = self._models.versions_of(found.name)
        version = versions.note(found.key, found.version, found.folder, found.fingerprint)
        if not version.is_loaded:
            version.folder, version.fingerprint = found.folder, found.fingerprint
        return version

    def _refuse_second(self, found: Found) -> None:
        """Report a bundle that claims the name and version of another one."""
        versions = self._models.versions_of(found.name)
        second = versions.note(found.folder, None, found.folder, found.fingerprint)
        if second.state != "failed":
            versions.fail(second, f"Another bundle is version {found.version}. Remove one.")
            self.log_failure(second, found.name)
        self._found[found.name, second.key] = found

    def _forget_vanished(self) -> None:
        for versions in self._models.every:
            for version in list(versions):
                gone = (versions.model, version.key) not in self._found
                if gone and version.state in ("available", "failed"):
                    versions.drop(version)
