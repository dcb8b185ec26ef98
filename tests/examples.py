"""The examples of our pages, run as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

SERVICE = "127.0.0.1:8000"
"""The service's address as the pages print it."""


def blocks(page: str, language: str, section: str = "") -> list[str]:
    """Give the fenced blocks of a page, by its path in the repository, or of a section of it."""
    text = (REPOSITORY / page).read_text()
    if section:
        [text] = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def links(page: str) -> list[Path]:
    """Give what a page links to within the repository."""
    path = REPOSITORY / page
    targets = re.findall(r"\]\(([^)]+)\)", path.read_text())
    return [
        path.parent / target.partition("#")[0]
        for target in targets
        if not target.startswith(("http", "#"))
    ]


def run_example(command: list[str], folder: Path, **environment: str) -> str:
    """Run a printed example as a newcomer in the repository would, and give its output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    finished = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=540,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
