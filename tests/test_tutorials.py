"""The tutorials' commands run as they are printed, with the smallest recipe and drawn images."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import httpx
import pytest

from tests.clone import Shell, make_clone
from tests.conftest import REPOSITORY
from tests.examples import blocks, links
from training.__main__ import build_parser

README = "README.md"
TUTORIALS = "docs/tutorials"
PAGES = ("train-your-own.md", "read-a-report.md", "add-an-architecture.md")


def script_of(page: str, **variables: object) -> str:
    """Give a tutorial's commands as one script, its variables replaced."""
    script = "\n".join(blocks(f"{TUTORIALS}/{page}", "bash"))
    for name, value in variables.items():
        script, count = re.subn(rf"^{name}=\S+", f"{name}={value}", script, flags=re.MULTILINE)
        assert count == 1, f"{page} does not set {name}"
    return script


pytestmark = pytest.mark.timeout(600)  # many commands, each a Python of its own


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone, in which all commands run as they would in the user's."""
    return make_clone(tmp_path)


def test_train_your_own(toy_data: Path, clone: Path) -> None:
    """From a folder of images to an answer."""
    script = script_of("train-your-own.md", DATA=toy_data, RECIPE="smoke", RUN="runs/mine")
    output = Shell(clone).run(script)
    assert (clone / "exploration" / "exploration.html").is_file()
    assert (clone / "report" / "report.html").is_file()
    assert "smoke 0.0.1 is intact" in output
    assert re.search(r"^probability|PNEUMONIA|NORMAL", output, re.MULTILINE)
    assert "auroc" in output


def test_read_a_report(toy_data: Path, smoke_run: Path, clone: Path) -> None:
    """Report, comparison and sheet of a run that is there."""
    script = script_of("read-a-report.md", DATA=toy_data, RUN=smoke_run)
    Shell(clone).run(script)
    assert (clone / "comparison" / "comparison.html").is_file()
    assert (clone / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_add_an_architecture(clone: Path) -> None:
    """Files saved as the page says keep the contract."""
    page = (REPOSITORY / TUTORIALS / "add-an-architecture.md").read_text()
    files = re.findall(
        r"Save this as `([^`]+)`:\n\n```\w+\n(.*?)^```", page, re.DOTALL | re.MULTILINE
    )
    assert len(files) == 2
    for name, content in files:
        (clone / name).write_text(content)
    output = Shell(clone).run(script_of("add-an-architecture.md"))
    assert re.search(r"\d+ passed", output)


RUN_ELSEWHERE = ("training train", "training faithfulness", "training limits")
"""They take long: a tutorial above trains, tests/training does the rest. Here they are parsed."""


def test_readme(clone: Path, toy_data: Path, smoke_run: Path) -> None:
    """What the README prints of training goes through, with a run of the smallest recipe."""
    (clone / "chest_xray").symlink_to(toy_data)
    shutil.copytree(smoke_run, clone / "runs" / "resnet18")
    [block] = blocks(README, "bash", "Train, export, serve your own")
    for printed, chosen in {
        "--recipe resnet18": "--recipe smoke",
        "--init imagenet": "--init none",
    }.items():
        assert block.count(printed) == 1
        block = block.replace(printed, chosen)
    *commands, serve = block.replace("bundles/resnet18", "bundles/smoke").splitlines()
    for command in commands:
        if any(one in command for one in RUN_ELSEWHERE):
            build_parser().parse_args(shlex.split(command.partition(" training ")[2]))
        else:
            Shell(clone).run(command)
    with Shell(clone, CXR_PORT="0").running(serve) as address:
        [model] = httpx.get(f"{address}/v1/models").json()["models"]
    assert model["name"] == "smoke"


@pytest.mark.parametrize("page", PAGES)
def test_linked_files_exist(page: str) -> None:
    """Nothing is linked that is not there."""
    for link in links(f"{TUTORIALS}/{page}"):
        assert link.exists(), link
