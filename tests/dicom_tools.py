"""Other people's DICOM programs: dicom3tools and dcmtk. Tests are skipped where they are absent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SYSTEM_PATH = os.pathsep.join(
    folder
    for folder in os.environ["PATH"].split(os.pathsep)
    if Path(folder) != Path(sys.executable).parent
)
"""Without Python's folder, in which pynetdicom has a storescu of its own."""


def find_program(name: str) -> str:
    """Give the path of a program, or skip the test."""
    path = shutil.which(name, path=SYSTEM_PATH)
    if path is None:
        pytest.skip(f"{name} is absent (Debian: apt-get install dcmtk dicom3tools)")
    return path


def run_tool(name: str, data: bytes, folder: Path, *options: str) -> str:
    """Run a program over an object and give what it says."""
    program = find_program(name)
    file = folder / "object.dcm"
    file.write_bytes(data)
    command = [program, *options, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def verify_valid(data: bytes, folder: Path) -> None:
    """Check an object with dicom3tools."""
    said = run_tool("dciodvfy", data, folder, "-new")
    assert "Comprehensive3DSR" in said or "SCImage" in said, said
    assert "Error" not in said, said


def store(port: int, ae_title: str, *files: Path) -> None:
    """Send files with dcmtk, as they are encoded."""
    command = [find_program("storescu"), "-R", "-aec", ae_title, "127.0.0.1", str(port)]
    command += map(str, files)
    sent = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert sent.returncode == 0, sent.stderr
