"""The service as a process of its own, for tests that need the real thing."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.conftest import REPOSITORY


@dataclass(frozen=True)
class LiveServer:
    """A running service.

    Attributes:
        address: ``http://host:port``.
        process: Its process.
    """

    address: str
    process: subprocess.Popen[str]

    def predict(self, data: bytes, **query: str) -> httpx.Response:
        """Post one raw image."""
        url = f"{self.address}/v1/predict"
        return httpx.post(url, content=data, params=query, timeout=60)


@contextmanager
def running_server(bundles: Path) -> Iterator[LiveServer]:
    """Start ``python -m service`` on a free port, wait until it is ready, and stop it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "serve", "--port", "0", "--bundles", str(bundles)],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if match := re.search(r"http://[\d.]+:\d+", line):
                break
        else:
            raise AssertionError(f"the service ended with {process.wait()} before it was ready")
        yield LiveServer(match[0], process)
    finally:
        process.terminate()
        process.wait(timeout=60)
        process.stderr.close()
