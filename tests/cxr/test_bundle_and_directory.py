"""Bundles are verified when opened; directories are complete or absent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr.bundles.bundle import list_bundles, open_bundle
from cxr.errors import BundleError, OutputError
from cxr.files import new_directory


@pytest.fixture
def bundle(smoke_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(smoke_bundle, tmp_path / "copy"))


def tamper(bundle: Path) -> None:
    data = bytearray((bundle / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(data)


def truncate(bundle: Path) -> None:
    (bundle / "weights.safetensors").write_bytes(b"")


def remove(bundle: Path) -> None:
    (bundle / "golden.npz").unlink()


def add(bundle: Path) -> None:
    (bundle / "extra.bin").touch()


def remove_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()


def edit_manifest(bundle: Path, **changes: object) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (tamper, "was changed: model.onnx"),
        (truncate, "was changed: weights.safetensors"),
        (remove, "incomplete: golden.npz is missing"),
        (add, "changed: extra.bin is not in its manifest"),
        (remove_manifest, "manifest.json is missing"),
        (lambda b: edit_manifest(b, schema_version=99), "not valid at schema_version"),
        (lambda b: edit_manifest(b, surprise=1), "not valid at surprise"),
        (lambda b: edit_manifest(b, default_operating_point="x"), "default_operating_point"),
        (lambda b: edit_manifest(b, files={"../x": ""}), "files lacks"),
    ],
)
def test_damage_is_named(damage: Callable[[Path], None], message: str, bundle: Path) -> None:
    """Whatever was done to a bundle, opening it says what is wrong."""
    damage(bundle)
    with pytest.raises(BundleError, match=message):
        open_bundle(bundle)


def test_manifest_names_no_file_outside(bundle: Path) -> None:
    """A path that leaves the directory is refused before it is read."""
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    edit_manifest(bundle, files=files | {"../outside": "00"})
    with pytest.raises(BundleError, match="outside the bundle"):
        open_bundle(bundle)


def test_bundles_are_listed(smoke_bundle: Path, tmp_path: Path) -> None:
    """A folder lists its bundles, a bundle itself, an empty folder nothing."""
    assert list_bundles(smoke_bundle.parent) == [smoke_bundle]
    assert list_bundles(smoke_bundle) == [smoke_bundle]
    assert list_bundles(tmp_path) == []


def test_directory_appears_only_when_complete(tmp_path: Path) -> None:
    """A failure leaves the old directory and no rest of the new one."""
    target = tmp_path / "d"
    with new_directory(target, "f") as directory:
        (directory / "f").write_text("old")

    def fail() -> None:
        with new_directory(target, "f") as directory:
            (directory / "f").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (target / "f").read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Files of the old directory do not survive in the new one."""
    target = tmp_path / "d"
    for name in ("old", "new"):
        with new_directory(target, "mark") as directory:
            (directory / "mark").touch()
            (directory / name).touch()
    assert {p.name for p in target.iterdir()} == {"mark", "new"}
    assert list(tmp_path.iterdir()) == [target]


def test_what_is_not_ours_is_never_replaced(tmp_path: Path) -> None:
    """A file, or a folder of something else, stays as it is and is named."""
    file, folder = tmp_path / "README.md", tmp_path / "photos"
    file.write_text("precious")
    folder.mkdir()
    (folder / "a.jpeg").touch()
    for path in (file, folder):
        with (
            pytest.raises(OutputError, match="was left unchanged"),
            new_directory(path, "manifest.json"),
        ):
            pytest.fail("nothing must be written")
    assert file.read_text() == "precious"
    assert [p.name for p in folder.iterdir()] == ["a.jpeg"]


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A parent that is a file is an error of ours, not a traceback."""
    (tmp_path / "f").touch()
    with (
        pytest.raises(OutputError, match="Nothing can be written"),
        new_directory(tmp_path / "f" / "d", "mark"),
    ):
        pytest.fail("nothing must be written")
