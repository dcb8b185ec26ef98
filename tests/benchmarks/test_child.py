"""Measuring processes and those who wait for them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.child import ROOT, Child, MeasureError

TALKER = """
from benchmarks.child import say
from benchmarks.load import run_loop
async def work(): pass
run_loop(work())
say("x" * 1_000_000)
"""


def test_long_results_arrive_whole() -> None:
    """More than a pipe holds, after an event loop was closed, to a reader that is late."""
    with subprocess.Popen(
        [sys.executable, "-c", TALKER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as talker:
        assert talker.stdout is not None
        time.sleep(0.5)
        assert len(talker.stdout.readline()) == 1_000_003


def test_a_child_that_fails_is_an_error_and_no_hang(tmp_path: Path) -> None:
    """A plan it cannot read ends it; whoever waits is told."""
    with (
        pytest.raises(MeasureError, match=r"benchmarks\.load ended with 1"),
        Child("benchmarks.load", {"host": str(tmp_path)}) as child,
    ):
        child.wait_ready()
