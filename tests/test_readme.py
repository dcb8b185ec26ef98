"""The README's examples run as they are printed, against the shipped models."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cxr.decoding import sniff_format
from tests.conftest import REPOSITORY
from tests.examples import SERVICE, blocks, links, run_example, write_examples
from tests.live import LiveServer

README = "README.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the files the examples name."""
    return write_examples(tmp_path_factory.mktemp("readme"))


@pytest.mark.parametrize("block", blocks(README, "bash"), ids=lambda block: block.split()[0])
def test_shell_examples(block: str, folder: Path, live: LiveServer, shipped_bundles: Path) -> None:
    """Each answer of each command is a prediction without an error."""
    if "curl" in block and shutil.which("curl") is None:
        pytest.skip("curl is absent")
    command = ["bash", "-euc", block.replace(SERVICE, live.address.removeprefix("http://"))]
    output = run_example(command, folder, CXR_BUNDLES_DIR=str(shipped_bundles))
    pictures = re.findall(r"-o (\S+)", block) if "curl" in block else []
    for name in pictures:
        kind = "dicom" if name.endswith(".dcm") else "png"
        assert sniff_format((folder / name).read_bytes()) == kind
    if "curl" in block:
        answers = re.sub(r"\}\s*\{\"request_id", '}\n{"request_id', output).splitlines()
        asked = len(re.findall(r"^\s*curl", block, re.MULTILINE))
        assert len(answers) == asked - len(pictures)
        for answer in answers:
            told = json.loads(answer)
            if "resourceType" in told:
                assert told["resourceType"] == "DiagnosticReport"
            else:
                assert all(result["status"] == "ok" for result in told["results"])
    else:
        assert (folder / "results.csv").read_text().count("\n") == 3


@pytest.mark.parametrize("block", blocks(README, "python"), ids=["client"])
def test_python_example(block: str, folder: Path, live: LiveServer, shipped_bundles: Path) -> None:
    """The client example prints one line per file and writes a picture."""
    command = [sys.executable, "-c", block.replace(f"http://{SERVICE}", live.address)]
    assert run_example(command, folder, CXR_BUNDLES_DIR=str(shipped_bundles)).count("\n") == 2
    assert (folder / "chest-overlay.png").read_bytes().startswith(b"\x89PNG")


def test_printed_answer_has_the_members_of_a_real_one(folder: Path, live: LiveServer) -> None:
    """The JSON in the README has exactly the keys that the service answers with."""
    printed = json.loads(blocks(README, "json")[0])
    given = live.predict((folder / "chest.jpeg").read_bytes()).json()

    def shape(value: object) -> object:
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items()}
        if isinstance(value, list):  # of texts or numbers it matters only that it is one
            return [shape(item) for item in value[:1] if isinstance(item, dict)]
        return None

    assert shape(printed) == shape(given)


def test_commands_and_files_named_exist() -> None:
    """Every subcommand and every linked file of the README is there."""
    for link in links(README):
        assert link.exists(), link
    text = (REPOSITORY / README).read_text()
    for package, command in set(re.findall(r"python -m (training|export|service) (\w+)", text)):
        finished = subprocess.run(
            [sys.executable, "-m", package, command, "--help"],
            cwd=REPOSITORY,
            capture_output=True,
            check=False,
        )
        assert finished.returncode == 0, (package, command)
