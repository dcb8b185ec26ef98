"""Folders of bundles in which somebody has put anything at all."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cxr.bundles.bundle import MAX_MANIFEST_BYTES, list_bundles, open_bundle
from cxr.errors import BundleError, CxrError
from cxr.files import read_regular_file
from service.engines.registry import build_engine
from service.models.repository import scan_repository
from service.models.runtime import Runtime
from tests.service.conftest import make_settings
from tests.service.harness import running
from tests.service.make_bundle import make_bundle
from tests.service.make_images import make_png
from tests.service.test_version_watcher import unusable, watching
from tests.service.version_tools import control_settings

EVIL, GOOD = "evil", "good"


def written(content: bytes) -> Callable[[Path], None]:
    """Put bytes where the manifest was."""
    return lambda path: (path / "manifest.json").write_bytes(content) and None


def edited(**changes: Any) -> Callable[[Path], None]:
    """Change members of the manifest."""

    def edit(path: Path) -> None:
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps(manifest | changes))

    return edit


def populated(**changes: Any) -> Callable[[Path], None]:
    """Change members of the manifest's first population."""

    def edit(path: Path) -> None:
        first, *others = json.loads((path / "manifest.json").read_text())["populations"]
        edited(populations=[first | changes, *others])(path)

    return edit


def replaced(make: Callable[[Path], Any]) -> Callable[[Path], None]:
    """Put something else where the manifest was."""

    def replace(path: Path) -> None:
        (path / "manifest.json").unlink()
        make(path / "manifest.json")

    return replace


def listing(name: str) -> Callable[[Path], None]:
    """List one more file in the manifest."""

    def lists(path: Path) -> None:
        files = json.loads((path / "manifest.json").read_text())["files"]
        edited(files=files | {name: "0" * 64})(path)

    return lists


def with_loop(path: Path) -> None:
    """List a file that is a link to itself."""
    (path / "loop").symlink_to("loop")
    listing("loop")(path)


def with_endless_link(path: Path) -> None:
    """Lay a link beside the files to what no file system can name."""
    (path / "endless").symlink_to("x" * 300)


def make_sparse(path: Path) -> None:
    """Make a file of a gigabyte that takes no room."""
    with path.open("wb") as file:
        file.truncate(1_000_000_000)


UNREADABLE: dict[str, tuple[Callable[[Path], None], str]] = {
    "brackets": (written(b"[" * 200_000), "not valid"),
    "nested objects": (written(b'{"a":' * 100_000), "not valid"),
    "deep behind the name": (
        written(b'{"name": "evil", "version": "1.0.0", "task": ' + b"[" * 200_000),
        "not valid",
    ),
    "not UTF-8": (written(b'{"name": "\xff\xfe"}'), "not valid"),
    "UTF-16": (written('{"name": "a"}'.encode("utf-16")), "not valid"),
    "nothing": (written(b""), "not valid"),
    "no object": (written(b"7"), "not valid"),
    "endless number": (written(b"1" * 100_000), "not valid"),
    "a little too large": (written(b" " * (MAX_MANIFEST_BYTES + 1)), "is larger than"),
    "a gigabyte": (replaced(make_sparse), "is larger than"),
    "folder": (replaced(Path.mkdir), "not a regular file"),
    "pipe": (replaced(os.mkfifo), "not a regular file"),
    "device": (replaced(lambda path: path.symlink_to("/dev/zero")), "not a regular file"),
    "link to itself": (replaced(lambda path: path.symlink_to(path)), "cannot be read"),
    "link to nothing": (replaced(lambda path: path.symlink_to("nothing")), "is missing"),
    "link without end": (replaced(lambda path: path.symlink_to("x" * 300)), "cannot be read"),
    "name with a path": (edited(name="../good"), "not valid at name"),
    "name of a megabyte": (edited(name="n" * 1_000_000), "not valid at name"),
    "version of a list": (edited(version=[1, 0, 0]), "not valid at version"),
}
"""Not even name and version can be read."""

REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "nan": (edited(normalisation={"mean": float("nan"), "std": 1.0}), "normalisation.mean"),
    "infinity": (edited(normalisation={"mean": 0.5, "std": float("inf")}), "normalisation.std"),
    "nan in a figure": (
        edited(metrics={"t": {"p": {"auroc": {"value": float("nan"), "low": 0, "high": 1}}}}),
        "metrics",
    ),
    "no schema": (edited(schema_version=None), "not valid at schema_version"),
    "interval beyond 1": (populated(auroc={"value": 0.9, "low": 7.0, "high": 1.0}), "a share"),
    "interval upside down": (
        populated(auroc={"value": 0.95, "low": 0.99, "high": 0.9}),
        "begins at its lower end",
    ),
    "interval of nothing": (populated(auroc={"value": None, "low": 0.95, "high": 1}), "needs a"),
    "figures of nobody": (populated(images=0), "populations.0.images"),
    "figures of the training": (populated(part="internal-train"), "populations.0.part"),
    "ages upside down": (populated(ages_years=[120, 18]), "youngest <= oldest"),
    "who of two lines": (populated(who="adults\nand others"), "populations.0.who"),
    "member of a megabyte": (edited(**{"m" * 1_000_000: 1}), "not valid at mmm"),
    "name with a null": (listing("a\0b"), "cannot be read"),
    "name without end": (listing("n" * 1000), "cannot be read"),
    "loop of links": (with_loop, "loop is missing"),
    "link without end beside": (with_endless_link, "cannot be read"),
}
"""Name and version can be read, but it is no bundle."""


@pytest.fixture
def evil(made: Path, tmp_path: Path) -> Path:
    """A bundle that a test may damage, beside a good one."""
    return Path(shutil.copytree(made, tmp_path, dirs_exist_ok=True)) / EVIL


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two sound bundles."""
    root = tmp_path_factory.mktemp("bundles")
    for name in (EVIL, GOOD):
        make_bundle(root, name)
    return root


@pytest.mark.parametrize("what", UNREADABLE | REFUSED)
def test_only_the_bad_bundle_is_refused(what: str, evil: Path) -> None:
    """With its reason, at once, and in little memory; the other is found and opened."""
    damage, reason = (UNREADABLE | REFUSED)[what]
    damage(evil)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {one.path.name: one for one in scan_repository(evil.parent)}
    assert list(found) == [EVIL, GOOD]
    assert (found[EVIL].version is None) == (what in UNREADABLE)
    assert found[GOOD].version is not None
    with pytest.raises(BundleError, match=reason) as caught:
        open_bundle(evil)
    assert len(str(caught.value)) < 700
    assert open_bundle(evil.parent / GOOD).manifest.name
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 100_000


def test_folders_that_cannot_be_looked_at_hide_no_other(evil: Path) -> None:
    """Links in a circle or to names too long, and what is no folder."""
    root = evil.parent
    (root / "circle").symlink_to("circle")
    (root / "long").symlink_to("x" * 300)
    (root / "up").symlink_to("..")
    os.mkfifo(root / "pipe")
    assert {path.name for path in list_bundles(root)} >= {EVIL, GOOD}


@pytest.mark.parametrize("size", [0, 1, 1000, 1001])
def test_regular_file_is_read_up_to_its_limit(size: int, tmp_path: Path) -> None:
    """And no byte beyond."""
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    if size <= 1000:
        assert read_regular_file(path, 1000) == bytes(size)
    else:
        with pytest.raises(OSError, match="larger than 1000 bytes"):
            read_regular_file(path, 1000)


@pytest.mark.anyio
@pytest.mark.parametrize("what", UNREADABLE | REFUSED)
async def test_service_starts_beside_it(
    what: str, evil: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says why one is refused; the other answers."""
    (UNREADABLE | REFUSED)[what][0](evil)
    async with running(make_settings(evil.parent, models=""), build_engine) as service:
        answer = await service.client.post("/v1/predict", content=make_png())
        assert answer.json()["model"]["name"] == GOOD
        told = [record.fields["folder"] for record in unusable(caplog)]
        assert told == [EVIL]


@pytest.mark.anyio
@pytest.mark.parametrize("what", UNREADABLE | REFUSED)
async def test_watcher_sees_beside_it(
    what: str, evil: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What appears after it is loaded, and what is refused is told once."""
    root = evil.parent
    hidden = {name: (root / name).rename(root / f".{name}") for name in (EVIL, GOOD)}
    make_bundle(root, "first")
    async with running(control_settings(root), build_engine) as service:
        watcher = await watching(service)
        for name, path in hidden.items():
            path.rename(root / name)
        (UNREADABLE | REFUSED)[what][0](evil)
        for _ in range(3):
            await watcher.look()
        answer = await service.client.post(f"/v1/predict?model={GOOD}", content=make_png())
        assert answer.status_code == 200
        assert len(unusable(caplog)) == 1


@pytest.mark.anyio
async def test_gate_of_other_populations_is_refused(
    evil: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its digest is right, and its start would be: it would fail at the first chest."""
    gate = load_file(evil / "scope.safetensors")
    for name in ("weights", "bias", "mean", "components"):
        part = gate[f"population_{name}"]
        gate[f"population_{name}"] = np.concatenate([part, part[:1]])
    save_file(gate, evil / "scope.safetensors")
    files = json.loads((evil / "manifest.json").read_text())["files"]
    digest = hashlib.sha256((evil / "scope.safetensors").read_bytes()).hexdigest()
    edited(files=files | {"scope.safetensors": digest})(evil)
    async with running(make_settings(evil.parent, models=""), build_engine) as service:
        answer = await service.client.post("/v1/predict", content=make_png())
        assert answer.json()["model"]["name"] == GOOD
        [told] = unusable(caplog)
        assert "other populations" in told.fields["reason"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"models": "evil,good"}, "not valid"),
        ({"default_model": "evil"}, "CXR_DEFAULT_MODEL is evil"),
    ],
    ids=["asked for", "the default"],
)
@pytest.mark.anyio
async def test_start_fails_without_what_was_asked_for(
    changes: dict[str, str], told: str, evil: Path
) -> None:
    """No other model answers for it without a word."""
    written(b"[")(evil)
    runtime = Runtime(make_settings(evil.parent, **{"models": ""} | changes), build_engine)
    with pytest.raises(CxrError, match=told):
        await runtime.start()
    await runtime.stop()
