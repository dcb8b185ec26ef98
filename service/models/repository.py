"""The bundle repository: a folder of bundles."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from cxr.bundles.bundle import list_bundles, read_manifest
from cxr.bundles.manifest import Identity
from cxr.errors import BundleError
from service.models.versions import version_order


@dataclass(frozen=True)
class Found:
    """A folder that holds a manifest. Nothing of it is verified yet.

    Attributes:
        folder: The path relative to the repository, for display.
        name: Model name in the manifest; the folder's name if it cannot be read.
        version: Version in the manifest, None if it cannot be read.
        sha256: Digest of the manifest, which identifies the bundle; empty if it cannot be read.
        fingerprint: Changes with every change of a file: sizes, times and targets of links.
    """

    path: Path
    folder: str
    name: str
    version: str | None
    sha256: str
    fingerprint: str

    @property
    def key(self) -> str:
        """What distinguishes it from other versions of its model."""
        return self.version or self.folder


def scan_repository(
    root: Path, wanted: Iterable[str] = (), pins: Mapping[str, str] | None = None
) -> list[Found]:
    """Return what a folder of bundles, or one bundle, holds. Reads manifests only; blocks.

    A manifest that cannot be read counts if it may be a wanted model's. ``pins`` are versions by
    name, to which these models are held.
    """
    names = set(wanted)
    found: list[Found] = []
    seen: set[str] = set()
    for path in list_bundles(root):
        real = os.path.realpath(path)
        if real in seen:  # linked under a second name
            continue
        seen.add(real)
        one = _look_at(path, root)
        if names and one.name not in names and one.version is not None:
            continue
        if pins and one.name in pins and one.version not in (pins[one.name], None):
            continue
        found.append(one)
    return found


def newest_first(found: Iterable[Found]) -> list[Found]:
    """Sort versions of one model; those that cannot be read come last."""
    return sorted(found, key=lambda one: version_order(one.version), reverse=True)


def _look_at(path: Path, root: Path) -> Found:
    folder = path.relative_to(root).as_posix() if path != root else path.name
    name, version, sha256 = folder.partition("/")[0], None, ""
    try:
        content = read_manifest(path)
        sha256 = hashlib.sha256(content).hexdigest()
        stated = Identity.model_validate_json(content)
        name, version = stated.name, stated.version
    except (BundleError, ValidationError):
        pass  # opening it will say why
    return Found(path, folder, name, version, sha256, _fingerprint(path))


def _fingerprint(path: Path) -> str:
    parts = [os.path.realpath(path)]
    for folder, folders, files in os.walk(path):  # passes over what cannot be looked at
        for name in (*folders, *files):
            place = os.path.join(folder, name)
            try:
                stat = os.stat(place)
            except OSError:  # gone since it was listed, or a link to nothing
                continue
            parts.append(f"{place} {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}")
    return hashlib.sha256("\n".join(sorted(parts)).encode(errors="replace")).hexdigest()
