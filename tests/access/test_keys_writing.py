"""``python -m service keys new --file``: a file of keys that a service can be started with."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from service.__main__ import main
from service.access.keys import KeyRing


def make_key(file: Path, name: str, *options: str) -> int:
    """Run the command."""
    return main(
        ["keys", "new", "--name", name, "--scope", "predict", "--file", str(file), *options]
    )


def mode_of(file: Path) -> int:
    """Give a file's permissions."""
    return stat.S_IMODE(file.stat().st_mode)


@pytest.mark.parametrize(
    ("name", "options", "begins"),
    [
        ("keys.json", [], "{"),
        ("keys.toml", [], "[[keys]]"),
        ("keys", ["--toml"], "[[keys]]"),
    ],
    ids=["json", "toml by name", "toml by option"],
)
def test_file_is_made_and_added_to(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    options: list[str],
    begins: str,
) -> None:
    """Each key works, is shown once and alone, and only its owner can read the file."""
    file, keys = tmp_path / name, []
    for who in ("pacs", "batch", "third"):
        assert make_key(file, who, *options) == 0
        keys.append(capsys.readouterr().out.strip())
    ring = KeyRing(file, "X")
    assert [getattr(ring.find(key), "name", None) for key in keys] == ["pacs", "batch", "third"]
    assert mode_of(file) == 0o600
    assert file.read_text().startswith(begins)
    assert not [key for key in keys if key in file.read_text()]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_file_keeps_its_form_its_mode_and_the_link_to_it(tmp_path: Path) -> None:
    """Whoever could read it still can, and what is mounted elsewhere is what changes."""
    file, link = tmp_path / "real" / "keys", tmp_path / "keys.json"
    file.parent.mkdir()
    assert make_key(file, "first", "--toml") == 0
    file.chmod(0o640)
    link.symlink_to(file)
    assert make_key(link, "second") == 0
    assert link.is_symlink()
    assert mode_of(file) == 0o640
    assert file.read_text().count("[[keys]]") == 2


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "neither JSON nor TOML"),
        ('{"keys": [], "more": 1}', "more"),
        (None, "same name"),
        ("fifo", "not a regular file"),
        ("folder", "No such file or directory"),
    ],
    ids=["cut", "unknown member", "same name", "fifo", "no such folder"],
)
def test_file_that_cannot_be_used_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, told: str
) -> None:
    """One line says why, and no key is shown that no file knows."""
    file = tmp_path / "keys.json"
    if content == "fifo":
        os.mkfifo(file)
    elif content == "folder":
        file = tmp_path / "absent" / "keys.json"
    elif content is None:
        make_key(file, "pacs")
        capsys.readouterr()
    else:
        file.write_text(content)
    before = file.read_bytes() if file.is_file() else None
    assert make_key(file, "pacs") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert told in said.err
    assert (file.read_bytes() if file.is_file() else None) == before
    assert len(list(tmp_path.iterdir())) <= 1
