"""Bundles that must not keep others from being served."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from benchmarks.child import MeasureError
from benchmarks.siege.arena import Arena, honest_predictions, until
from benchmarks.siege.attacked import Attacked
from benchmarks.siege.clients import fetch
from benchmarks.siege.row import Bars, Row, Sighting
from benchmarks.siege.watch import watching

FAMILY = "bundles"
BRACKETS = 200_000
BROKEN = "broken"
SEEN_S = 20.0
USUAL = Bars(memory_mib=64)
LOADING = Bars(memory_mib=None, slow_s=3.0)
"""A version that is loaded takes memory and a core, which is no harm done by the other."""


def attack_start(arena: Arena) -> Sighting:
    """Start beside a bundle whose manifest is nothing but brackets."""
    seen = Sighting(sent_bytes=BRACKETS)
    with arena.folder() as folder:
        _copy(arena, folder / "bundles" / arena.model)
        _break(folder / "bundles")
        try:
            with (
                arena.service(folder, folder / "bundles", models="") as server,
                watching(server, honest_predictions(server), USUAL) as seen,
            ):
                seen.sent_bytes = BRACKETS
                seen.answers = [f"serves {', '.join(_served(server))}"]
                seen.facts["the other is served"] = arena.model in _served(server)
        except MeasureError as error:
            seen.answers = [str(error).rpartition("error:")[2].strip()[:120]]
            seen.facts["starts"] = False
    return seen


def attack_watcher(arena: Arena) -> Sighting:
    """Put such a bundle, then a sound new version, into a folder that is watched."""
    with arena.folder() as folder:
        _copy(arena, folder / "bundles" / arena.model)
        with (
            arena.service(folder, folder / "bundles", watch_bundles_s="0.5") as server,
            watching(server, honest_predictions(server), LOADING) as seen,
        ):
            _break(folder / "bundles")
            until(lambda: False, 2.0)  # the watcher has seen it
            _copy(arena, folder / "new", version="9.9.9")
            (folder / "new").rename(folder / "bundles" / "new")
            is_switched = until(lambda: "9.9.9" in _versions(server, arena.model), SEEN_S)
            seen.sent_bytes = BRACKETS
            seen.answers = [f"serves {', '.join(_versions(server, arena.model)) or 'nothing'}"]
            seen.facts["the new version is found"] = is_switched
    return seen


def _copy(arena: Arena, folder: Path, version: str = "") -> None:
    shutil.copytree(arena.bundles / arena.model, folder)
    if version:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps(manifest | {"version": version}))


def _break(bundles: Path) -> None:
    (bundles / BROKEN).mkdir()
    (bundles / BROKEN / "manifest.json").write_text("[" * BRACKETS)


def _served(server: Attacked) -> list[str]:
    models = fetch(server.at("/v1/models"), 10.0).document.get("models", [])
    return [one.get("name", "") for one in models]


def _versions(server: Attacked, name: str) -> list[str]:
    return [str(fetch(server.at(f"/v1/models/{name}"), 10.0).document.get("version", ""))]


ROWS = (
    Row(
        "manifest-start",
        FAMILY,
        "a start beside a manifest of 200,000 brackets",
        attack_start,
        USUAL,
    ),
    Row(
        "manifest-watcher",
        FAMILY,
        "such a manifest in a folder that is watched",
        attack_watcher,
        LOADING,
    ),
)
