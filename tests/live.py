"""The service as a process of its own, for tests that need the real thing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.conftest import REPOSITORY


class LiveServer:
    """A running service, which can be killed and started again.

    Args:
        bundles: Folder of bundles, or one bundle.

    Attributes:
        address: ``http://host:port``.
        process: Its process; None while it is not running.
    """

    def __init__(self, bundles: Path) -> None:
        self._bundles = bundles
        self.address = ""
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start ``python -m service`` and wait until it is ready; again on the same port."""
        port = self.address.rpartition(":")[2] or "0"
        chosen = ["--port", port, "--bundles", str(self._bundles)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", *chosen],
            cwd=REPOSITORY,
            env=os.environ | {"CXR_ACCESS": "anonymous"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if match := re.search(r"http://[\d.]+:\d+", line):
                self.address = match[0]
                return
        code = self.process.wait()
        raise AssertionError(f"the service ended with {code} before it was ready")

    def wait_explains(self) -> None:
        """Wait until explanations are ready, too: they come by themselves."""
        for _ in range(600):
            models = httpx.get(f"{self.address}/v1/models").json()["models"]
            offers = [one["explain"] for one in models if one["explain"] is not None]
            if all(offer["precision"] is not None for offer in offers):
                return
            time.sleep(0.1)
        raise AssertionError("explanations were not ready in a minute")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as its operator would."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=60)
            assert self.process.stderr is not None
            self.process.stderr.close()
            self.process = None

    def predict(self, data: bytes, **query: str) -> httpx.Response:
        """Post one raw image."""
        url = f"{self.address}/v1/predict"
        return httpx.post(url, content=data, params=query, timeout=60)


@contextmanager
def running_server(bundles: Path) -> Iterator[LiveServer]:
    """Start a service on a free port, wait until it is ready, and stop it."""
    server = LiveServer(bundles)
    try:
        server.start()
        yield server
    finally:
        server.stop()
