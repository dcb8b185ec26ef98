"""How far a request walks through the code: a newcomer has to follow it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

MOST = {"predict": (28, 120), "explain": (38, 175)}
"""Files and functions; docs/decisions/0030 says what they were before."""


@pytest.mark.skipif(not (REPOSITORY / "bundles").is_dir(), reason="make bundles has not been run")
@pytest.mark.parametrize("route", MOST)
def test_request_crosses_few_files_and_functions(route: str) -> None:
    """One more is a reason to look whether it is needed."""
    command = [sys.executable, "-m", "tools.walk", route]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    pattern = r"^(\d+) files, (\d+) functions, \d+ changes of file$"
    found = re.search(pattern, done.stdout, re.MULTILINE)  # workers log before it
    assert found is not None, done.stdout
    files, functions = map(int, found.groups())
    assert files <= MOST[route][0], done.stdout
    assert functions <= MOST[route][1], done.stdout
    assert f"service/http/v1/{route}.py" in done.stdout
