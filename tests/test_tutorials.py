"""The tutorials' commands run as they are printed, with the smallest recipe and drawn images."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.examples import blocks, links, run_example

TUTORIALS = "docs/tutorials"
PAGES = ("train-your-own.md", "read-a-report.md", "add-an-architecture.md")


def script_of(page: str, **variables: object) -> str:
    """Give a page's commands as one script, its variables replaced."""
    script = "\n".join(blocks(f"{TUTORIALS}/{page}", "bash"))
    for name, value in variables.items():
        script, count = re.subn(rf"^{name}=\S+", f"{name}={value}", script, flags=re.MULTILINE)
        assert count == 1, f"{page} does not set {name}"
    return f"set -eu\n{script}"


pytestmark = pytest.mark.timeout(600)  # many commands, each a Python of its own


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory."""
    return tmp_path_factory.mktemp("tutorials")


def test_train_your_own(toy_data: Path, folder: Path) -> None:
    """From a folder of images to an answer."""
    script = script_of("train-your-own.md", DATA=toy_data, RECIPE="smoke", RUN="runs/mine")
    output = run_example(["bash", "-c", script], folder)
    assert (folder / "exploration" / "exploration.html").is_file()
    assert (folder / "report" / "report.html").is_file()
    assert "smoke 0.0.1 is intact" in output
    assert re.search(r"^probability|PNEUMONIA|NORMAL", output, re.MULTILINE)
    assert "auroc" in output


def test_read_a_report(toy_data: Path, smoke_run: Path, folder: Path) -> None:
    """Report, comparison and sheet of a run that is there."""
    script = script_of("read-a-report.md", DATA=toy_data, RUN=smoke_run)
    run_example(["bash", "-c", script], folder)
    assert (folder / "comparison" / "comparison.html").is_file()
    assert (folder / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_add_an_architecture(folder: Path) -> None:
    """Files saved as the page says, in a copy of the repository, keep the contract."""
    copy = folder / "copy"
    for name in ("cxr", "training", "export", "service", "tests"):
        shutil.copytree(REPOSITORY / name, copy / name)
    shutil.copy(REPOSITORY / "pyproject.toml", copy)
    page = (REPOSITORY / TUTORIALS / "add-an-architecture.md").read_text()
    files = re.findall(
        r"Save this as `([^`]+)`:\n\n```\w+\n(.*?)^```", page, re.DOTALL | re.MULTILINE
    )
    assert len(files) == 2
    for name, content in files:
        (copy / name).write_text(content)
    output = run_example(
        ["bash", "-c", script_of("add-an-architecture.md")], copy, PYTHONPATH=str(copy)
    )
    assert re.search(r"\d+ passed", output)


@pytest.mark.parametrize("page", PAGES)
def test_linked_files_exist(page: str) -> None:
    """Nothing is linked that is not there."""
    for link in links(f"{TUTORIALS}/{page}"):
        assert link.exists(), link
